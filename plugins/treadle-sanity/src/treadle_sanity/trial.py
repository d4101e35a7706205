"""A trial: what model and loss function make of a first batch, without a trace; and which callbacks change that."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from treadle import Callback, Phase, TrainingPhase, ValidationPhase, Write, accesses
from treadle.authoring import (
    by_name,
    handlers,
    map_tensors,
    overlaps,
    position_of,
    preserved_random_state,
    preserved_state,
    split_batch,
)
from treadle.errors import ArgumentTypeError, DataError, LossError, NotSaveableError
from treadle.operations import carried_loss

from treadle_sanity.check import SkipCheck
from treadle_sanity.first_batch import first_batch
from treadle_sanity.lossfns import out_of_range, title
from treadle_sanity.tensors import opaque

#: The state of a step that decides what model and loss function get and return.
STEP_STATE = ("step.xs", "step.ys", "step.yhats", "step.loss")


@dataclass
class Shared:
    """What all checks of one run share: the phases that are looked at, and the trials that were made."""

    phases: tuple[Phase, ...]
    trials: dict[Phase, Trial] = field(default_factory=dict)


_shared: ContextVar[Shared | None] = ContextVar("treadle_sanity_shared", default=None)


class Trial:
    """A first batch, and what model and loss function make of it. What is not known is None.

    Attributes:
        phase: The phase whose step would take the batch.
        data: The data.
        name: What the data are called: `data.training`.
        fetched: Whether the data have a batch.
        is_pair: Whether it is a pair of inputs and targets.
        xs, ys: The inputs and the targets, where the model is.
        yhats: The model's outputs, detached.
        loss: What the loss function returned, detached.
        out_of_range: Which targets or outputs the loss function cannot take; then it was not tried,
            since on an accelerator that ends the whole process.
        error: What the data, the model or the loss function raised.
        reason: Why the model was not tried, although nothing is wrong.
    """

    def __init__(self, learner: Any, phase: Phase) -> None:
        name = str(phase.data_name)
        self.phase, self.data = phase, learner.data[name]
        self.name, self.lossfn = f"data.{name}", learner.lossfn
        self.fetched = self.is_pair = False
        self.batch: Any = None
        self.xs: Any = None
        self.ys: Any = None
        self.yhats: Any = None
        self.loss: Any = None
        self.out_of_range: str | None = None
        self.error: Exception | None = None
        self.reason: SkipCheck | None = None
        try:
            with quiet(learner):
                self.batch = first_batch(self.data, self.name)
            self.fetched = True
            state = split_or_none(learner, self.batch, phase)
            self.is_pair = state is not None
            if state is not None:
                refuse_open_shapes(learner)
                with without_trace(learner, phase):
                    self.xs, self.ys = moved(learner, (state["xs"], state.get("ys")))
                    self.yhats = outputs(learner, self.xs)
                    self.out_of_range = out_of_range(self.yhats, self.ys, self.lossfn)
                    if self.out_of_range is None:
                        self.loss = number(self.lossfn, self.yhats, self.ys)
        except SkipCheck as reason:
            self.reason = reason
        except NotSaveableError as error:  # the run itself may do without putting anything back
            self.reason = SkipCheck(f"a trial would leave a trace ({str(error).splitlines()[0]})")
        except Exception as error:
            self.error = error
        self.yhats, self.loss = map_tensors(detached, (self.yhats, self.loss))


def split_or_none(learner: Any, batch: Any, phase: Phase) -> Mapping[str, Any] | None:
    """The inputs and targets of a batch, or None for a batch that is not a pair."""
    try:
        return split_batch(learner, batch, phase)
    except DataError:
        return None


def trials(learner: Any) -> list[Trial]:
    """A trial for each phase that takes pairs and has data. Inside of `shared_trials` they are made once."""
    shared = _shared.get() or Shared(phases_of(learner))
    for phase in shared.phases:
        if takes_pairs(phase) and phase.data_name in learner.data and phase not in shared.trials:
            shared.trials[phase] = Trial(learner, phase)
    return list(shared.trials.values())


def phases_of(learner: Any) -> tuple[Phase, ...]:
    """The phases that are looked at: those of the fit under way, without one training and validation."""
    shared = _shared.get()
    if shared is not None:
        return shared.phases
    return position_of(learner).phases or (TrainingPhase(), ValidationPhase())


def takes_pairs(phase: Phase) -> bool:
    """Whether a phase takes the batches of its data one by one, and does with them what the core's phases do."""
    cls = type(phase)
    return cls.step in (TrainingPhase.step, ValidationPhase.step) and cls.epoch is Phase.epoch


@contextmanager
def shared_trials(phases: Iterable[Phase]) -> Iterator[None]:
    """Look at these phases, and make every trial once, for all checks that ask for it inside."""
    token = _shared.set(Shared(tuple(dict.fromkeys(phases))))
    try:
        yield
    finally:
        _shared.reset(token)


@contextmanager
def quiet(learner: Any) -> Iterator[None]:
    """Leave random generators as they are, and warnings to the first step."""
    with preserved_random_state(learner.data.values()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def without_trace(learner: Any, phase: Phase) -> Iterator[None]:
    """Have models and gradients as in a phase, and leave everything as it is; see `quiet`."""
    models = by_name(learner.model)
    with (
        quiet(learner),
        preserved_state([*models.values(), learner.lossfn], parameters=False),
        torch.set_grad_enabled(phase.training is not False),
    ):
        if phase.training is False:  # while a training phase is under way its modes are set
            for model in models.values():
                model.eval()
        yield


def refuse_open_shapes(learner: Any) -> None:
    """Skip the trial of a model with lazy layers, also one that the loss function is."""
    modules = [part for part in (*by_name(learner.model).values(), learner.lossfn) if isinstance(part, nn.Module)]
    if any(is_lazy(tensor) for module in modules for tensor in (*module.parameters(), *module.buffers())):
        raise SkipCheck("the shapes of the model's parameters are decided by the first batch")


def outputs(learner: Any, xs: Any) -> Any:
    """The model's outputs for some inputs, as a step of `TrainingPhase` has them."""
    model = learner.model
    if isinstance(model, Mapping):
        raise ArgumentTypeError(f"a step of TrainingPhase applies one model, and the learner has {', '.join(model)}")
    if isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module  # the wrapper's forward would wait for a backward pass
    if isinstance(xs, (tuple, list)):
        return model(*xs)
    return model(**xs) if isinstance(xs, Mapping) else model(xs)


def number(lossfn: Any, yhats: Any, ys: Any) -> torch.Tensor:
    """What a loss function returns, or without one what the outputs carry, if that is one number in a tensor."""
    loss = carried_loss(yhats) if lossfn is None else lossfn(yhats, ys)
    if isinstance(loss, torch.Tensor) and loss.numel() == 1:
        return loss
    got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else f"a {type(loss).__name__}"
    raise LossError(f"{title(lossfn)} returned {got}, and not one number in a tensor")


def moved(learner: Any, batch: Any) -> Any:
    """The batch where the model is, if a callback is going to move it there."""
    moves = movers(learner)
    if not moves:
        return batch
    if unknown := next(opaque(batch), None):
        raise SkipCheck(f"the batches hold {type(unknown).__name__}, and only the step itself knows how that is moved")
    for move in moves:
        batch = map_tensors(move, batch)
    devices = {parameter.device for parameter in parameters(learner)}
    if len(devices) == 1:
        (device,) = devices
        batch = map_tensors(lambda part: part.to(device), batch)
    return batch


def detached(part: Any) -> Any:
    """A tensor without its graph; anything else as it is."""
    return part.detach() if isinstance(part, torch.Tensor) else part


def parameters(learner: Any) -> dict[nn.Parameter, str]:
    """All parameters of one or several models, with their names."""
    return {
        parameter: f"{name}.{path}" if name else path
        for name, model in by_name(learner.model).items()
        for path, parameter in model.named_parameters()
    }


def movers(learner: Any) -> list[Callable[[Any], Any]]:
    """What callbacks such as `ToDevice` apply to every tensor of a batch, as they declare in `move_data`."""
    return [callback.move_data for callback in learner.callbacks if callback.move_data and is_mover(callback)]


def influences(learner: Any) -> list[str]:
    """The names of the callbacks, other than movers, that change what is in a step or how it is made."""
    return [callback.name for callback in learner.callbacks if not is_mover(callback) and changes_steps(callback)]


def is_mover(callback: Callback) -> bool:
    """Whether a callback applies `move_data` to the batches."""
    return callback.move_data is not None and writes(callback, "step.xs")


def changes_steps(callback: Callback) -> bool:
    """Whether a callback writes what is in a step, or handles an operation that makes it."""
    hooks = handlers(callback)
    if "epoch" in hooks and not hooks["epoch"].wrapper:
        return True
    return writes(callback, *STEP_STATE) or bool({"step", "forward", "loss"} & hooks.keys())


def writes(callback: Callback, *paths: str) -> bool:
    """Whether a callback declares that it writes one of these paths."""
    return any(overlaps(written, path) for written in accesses(callback, Write) for path in paths)
