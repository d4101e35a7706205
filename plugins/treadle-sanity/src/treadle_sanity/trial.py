"""A trial: what model and loss function make of a first batch, without a trace."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from treadle import Phase, TrainingPhase, ValidationPhase
from treadle.authoring import preserved_random_state
from treadle.errors import ArgumentTypeError, LossError

from treadle_sanity.errors import SkipCheck
from treadle_sanity.influence import movers
from treadle_sanity.loader_copy import first_batch
from treadle_sanity.lossfns import title
from treadle_sanity.ranges import out_of_range
from treadle_sanity.tensors import map_tensors, others
from treadle_sanity.untouched import untouched

_made: ContextVar[dict[str, Trial] | None] = ContextVar("treadle_sanity_trials", default=None)


class Trial:
    """A first batch, and what model and loss function make of it. What could not be had is None.

    Attributes:
        name: What the data are called: `data.training`.
        fetched: Whether the data gave a batch.
        batch: The first batch.
        is_pair: Whether it is one of inputs and targets.
        xs: The inputs, where the model is.
        ys: The targets, where the model is.
        yhats: The model's outputs, detached.
        loss: What the loss function returned, detached.
        lossfn: The loss function.
        out_of_range: What is out of its range, of the targets or outputs that the loss function
            takes; the loss was not tried then, for on an accelerator that ends the whole process.
        error: What the data, the model or the loss function raised.
        reason: Why the model was not tried, although nothing is wrong.
    """

    def __init__(self, learner: Any, name: str, phase: Phase) -> None:
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
        with without_trace(learner, phase):
            try:
                self._fetch(learner, name)
                if self.is_pair:
                    self._apply(learner, phase)
            except SkipCheck as reason:
                self.reason = reason
            except Exception as error:
                self.error = error
        self.yhats, self.loss = map_tensors(torch.Tensor.detach, (self.yhats, self.loss))

    def _fetch(self, learner: Any, name: str) -> None:
        self.batch = first_batch(learner.data[name], self.name)
        self.fetched = True
        self.is_pair = isinstance(self.batch, (tuple, list)) and len(self.batch) == 2

    def _apply(self, learner: Any, phase: Phase) -> None:
        if any(is_lazy(tensor) for tensor in parameters(learner)):
            raise SkipCheck("the shapes of the model's parameters are decided by the first batch")
        self.xs, self.ys = moved(learner, tuple(self.batch))
        self.yhats = outputs(learner, self.xs)
        self.out_of_range = out_of_range(self.yhats, self.ys, self.lossfn)
        if self.out_of_range is None:
            self.loss = number(self.lossfn, self.yhats, self.ys)


def trials(learner: Any) -> list[Trial]:
    """The trials of the training and the validation data. Inside of `shared_trials` each is made once."""
    made = _made.get()
    made = {} if made is None else made
    for name, phase in (("training", TrainingPhase()), ("validation", ValidationPhase())):
        if name in learner.data and name not in made:
            made[name] = Trial(learner, name, phase)
    return list(made.values())


@contextmanager
def shared_trials() -> Iterator[None]:
    """Make each trial once, for all checks that ask for it here."""
    token = _made.set({})
    try:
        yield
    finally:
        _made.reset(token)


@contextmanager
def without_trace(learner: Any, phase: Phase) -> Iterator[None]:
    """Leave random generators, models and loss function as they are, and warnings to the first step.

    Inside of it, models and gradients are as they are in a phase.
    """
    models = models_of(learner)
    with (
        preserved_random_state(learner.data.values()),
        untouched(*models.values(), learner.lossfn),
        torch.set_grad_enabled(phase.training is not False),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        if phase.training is False:  # while a training phase is under way its modes are set
            for model in models.values():
                model.eval()
        yield


def outputs(learner: Any, xs: Any) -> Any:
    """The model's outputs for some inputs, as a step of `TrainingPhase` has them."""
    model = learner.model
    if isinstance(model, Mapping):
        raise ArgumentTypeError(f"a step of TrainingPhase applies one model, and here are {', '.join(model)}")
    if isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module  # whose own forward would wait for a backward
    if isinstance(xs, (tuple, list)):
        return model(*xs)
    return model(**xs) if isinstance(xs, Mapping) else model(xs)


def number(lossfn: Any, yhats: Any, ys: Any) -> torch.Tensor:
    """What a loss function returns, if that is one number in a tensor."""
    loss = lossfn(yhats, ys)
    if isinstance(loss, torch.Tensor) and loss.numel() == 1:
        return loss
    got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else f"a {type(loss).__name__}"
    raise LossError(f"{title(lossfn)} returned {got}, and not one number in a tensor")


def moved(learner: Any, batch: Any) -> Any:
    """The batch where the model is, if a callback is going to move it there."""
    found = movers(learner)
    if not found:
        return batch
    if strange := next(others(batch), None):
        raise SkipCheck(f"the batches hold {type(strange).__name__}, and only the step itself knows how that is moved")
    for move in found:
        batch = map_tensors(move, batch)
    devices = {parameter.device for parameter in parameters(learner)}
    if len(devices) == 1:
        (device,) = devices
        batch = map_tensors(lambda tensor: tensor.to(device), batch)
    return batch


def models_of(learner: Any) -> dict[str, nn.Module]:
    """The models, one or several, by their names; one alone has an empty name."""
    return dict(learner.model) if isinstance(learner.model, Mapping) else {"": learner.model}


def parameters(learner: Any) -> dict[nn.Parameter, str]:
    """Every parameter of one or several models, with its name."""
    return {
        parameter: f"{name}.{path}" if name else path
        for name, model in models_of(learner).items()
        for path, parameter in model.named_parameters()
    }
