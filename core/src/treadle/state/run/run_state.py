"""The state of a run: everything that it consists of, captured from a learner and put back into one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from treadle.arguments import not_a_learner
from treadle.errors import MismatchError
from treadle.state.propdict import PropDict
from treadle.state.random_state import RandomState, sources_of
from treadle.state.run import callback_states, entries, optimizer_state
from treadle.state.run.data import states
from treadle.state.run.data.passes import PassStart
from treadle.state.run.data.refusals import refuse_unresumable
from treadle.state.run.model_state import (
    hidden_buffers,
    load_hidden_buffers,
    load_model_state,
    match_model_state,
    model_state,
    models_by_name,
    modes_by_name,
    named_modules,
)
from treadle.state.run.objects.preserved import remember
from treadle.state.run.values import flatten, refuse_unsaveable, unflatten
from treadle.state.views import learner_of

if TYPE_CHECKING:
    from treadle.learner import Learner

#: What is kept of a learner's progress.
COUNTERS = ("epoch", "epochs", "steps", "updates", "accumulated")


class RunState:
    """The state of a run at one moment, by names, so that it fits another learner that was built as this one was.

    It consists of the parameters and all buffers of the models and the loss function, which parameters are trained, the
    modules' training modes, the optimizers, the gradients of an unfinished update, the callbacks' states,
    `cbstate`, the progress, the random generators, and the states that data offer.

    Args:
        model: The values of the models' `state_dict`, by name; see `model_state`.
        parts: All else, by part: what `flatten` returned for it.
        tensors: The tensors of the parts by name.

    Example:
        >>> from treadle import toy_learner
        >>> state = capture_run(toy_learner())
        >>> sorted(state.model), state.part("progress")["steps"]
        (['weight'], 0)
    """

    def __init__(self, model: dict[str, Any], parts: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        self.model, self.parts, self.tensors = model, parts, tensors

    def part(self, name: str) -> Any:
        """A part; all in it is new."""
        return unflatten(self.parts[name], self.tensors)

    def check(self, learner: Learner, *, where: str = "The state", without: Collection[str] = ()) -> None:
        """Refuse a learner that this state does not fit.

        Args:
            where: Where the state comes from, for messages. Default: "The state".
            without: Names of callbacks whose states may be missing here or there. Default: none.

        Raises:
            MismatchError: for other models, optimizers, callbacks or loss functions than those that were captured.
        """
        match_model_state(learner.model, self.model, where, exact=True)
        lossfn = self.part("lossfn")
        if isinstance(learner.lossfn, nn.Module):
            match_model_state(learner.lossfn, lossfn, where, what="the loss function", exact=True)
        elif lossfn:
            raise MismatchError(
                f"{where} has a state of the loss function ({', '.join(lossfn)}), and the learner's has none.\n"
                f"Fix: build the loss function as it was when it was saved"
            )
        optimizer_state.check(learner.optimizer, self.part("optimizer"), all_parameters(learner))
        callback_states.check(learner.callbacks, self.part("callbacks"), without)

    def put_back(
        self,
        learner: Learner,
        *,
        moment: str = "now",
        data: bool = True,
        where: str = "The state",
        without: Collection[str] = (),
    ) -> None:
        """Put everything back but the states that data offer, as often as needed; the learner passed `check`.

        If something refuses its state, the learner is as it was.

        Args:
            moment: Modes and random generators are put back as they were "now", when the state was captured, or if
                they are known as they were at the "entry" or the "start" of the epoch that was under way.
            data: Whether the learner is the one of the run already, with all generators that it has while it runs.
                Default: yes; else generators that are missing are left out.
            where, without: See `check`.
        """
        undo = remember(
            [learner.models, learner.optimizers, learner.lossfn, learner.callbacks, learner.cbstate], lazy=True
        )
        try:
            entries.put_back(learner.cbstate, self.part("cbstate"))
            callback_states.put_back(learner.callbacks, self.part("callbacks"), without)
            self._put_back_modules(learner, moment, where)
            random = self.random_state(learner, moment, data=data, without=without)
        except BaseException as error:
            try:
                undo()
            except Exception as another:
                error.add_note(f"After it, not all could be put back as it was: {another!r}")
            raise
        learner.step = PropDict(self.part("step"))
        for name, value in self.part("progress").items():
            setattr(learner.progress, name, value)
        learner.position.clear_gradients = self.part("clear_gradients")
        random.put_back()

    @torch.no_grad()
    def _put_back_modules(self, learner: Learner, moment: str, where: str) -> None:
        load_model_state(learner.model, self.model, where)
        if isinstance(learner.lossfn, nn.Module):
            load_model_state(learner.lossfn, self.part("lossfn"), where)
        modules, modes = named_modules(models_by_name(learner.model), learner.lossfn), self.part("modes")
        load_hidden_buffers(modules, self.part("buffers"))
        for name, mode in (modes.get(moment) or modes["now"]).items():
            if name in modules:
                modules[name].training = mode
        parameters = all_parameters(learner)
        optimizer_state.put_back(learner.optimizer, self.part("optimizer"), parameters)
        frozen, gradients = set(self.part("frozen")), self.part("gradients")
        for name, parameter in parameters.items():
            parameter.requires_grad_(name not in frozen)
            parameter.grad = gradients[name].to(parameter.device) if name in gradients else None

    def put_back_data(self, learner: Learner) -> None:
        """Give data the states that they offered; they use it when they are iterated over next."""
        states.put_back(learner.data, self.part("data"))

    def pass_start(self, learner: Learner) -> PassStart:
        """How things stood before the first batch of the epoch under way, for the learner that goes on with it."""
        name = next(iter(self.part("started")), "")
        return PassStart(
            self.random_state(learner, "start"), self.part("data").get(name, {}), self.part("started").get(name, {})
        )

    def random_state(
        self, learner: Learner, moment: str, *, data: bool = True, without: Collection[str] = ()
    ) -> RandomState:
        """The random generators' states at a moment, or at the nearest one that is known; see `put_back`."""
        moments = self.part("random")
        optional = {f"callbacks[{key!r}]" for key in optional_callbacks(learner, self.part("callbacks"), without)}

        def needed(name: str) -> bool:
            if name.startswith("data."):
                return data and name.split(".")[1].partition("[")[0] in learner.data
            return data and not name.startswith(tuple(optional))

        state = moments.get(moment) or moments.get("start" if moment == "entry" else "now") or moments["now"]
        return RandomState.from_dict(state, sources_of(learner), needed=needed)


@torch.no_grad()
def capture_run(learner: Any, *, copy: bool = True) -> RunState:
    """Capture the state of a run, between two steps or two epochs.

    A checkpoint captures without copying and writes at once. What is kept in memory is copied, as in the check of the
    state in `treadle.testing`; for the models alone there is `model_state`, for a trial with the learner's own
    objects `preserved_state`.

    Args:
        learner: The learner, or the view of a callback that declares to read all of it.
        copy: Whether to copy the tensors. Default: yes; else those are referred to that training will change.

    Raises:
        NotSaveableError: if a callback or an entry of `cbstate` keeps what cannot be saved.
        NotResumableError: if an optimizer holds a parameter that belongs to no model; if the next pass over data would
            not begin as the first one did.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner()
        >>> _ = learner.fit(1)
        >>> state = capture_run(learner)
        >>> _ = learner.fit(1)
        >>> again = toy_learner()
        >>> state.check(again)
        >>> state.put_back(again)
        >>> _ = again.fit(1)
        >>> again.model.weight.equal(learner.model.weight), again.progress.epochs
        (True, 2)
    """
    if not hasattr(learner_of(learner), "position"):
        raise not_a_learner(learner)
    refuse_other_passes(learner)
    tensors: dict[str, torch.Tensor] = {}
    parts = {name: flatten(part, name, tensors) for name, part in parts_of_run(learner).items()}
    if copy:
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    return RunState(model_state(learner.model, copy=copy, persistent=True), parts, tensors)


def parts_of_run(learner: Any) -> dict[str, Any]:
    """All that a run consists of, by part, without what the models' `state_dict` holds."""
    progress, phase = learner.progress, learner.progress.phase
    position = learner_of(learner).position
    data_name = None if phase is None else phase.data_name
    start, models = position.at_start, models_by_name(learner.model)
    parameters, modules = all_parameters(learner), named_modules(models, learner.lossfn)
    now = RandomState(sources_of(learner))
    moments = {"now": now, "entry": position.at_entry, "start": None if start is None else start.random}
    modes = {"now": modes_by_name(modules), "entry": modes_by_name(modules, position.modes)}
    return {
        "progress": {name: getattr(progress, name) for name in COUNTERS},
        "optimizer": optimizer_state.capture(learner.optimizer, parameters),
        "lossfn": learner.lossfn.state_dict() if isinstance(learner.lossfn, nn.Module) else {},
        "buffers": {
            f"{name}.{leaf}" if name else leaf: buffer
            for name, module in modules.items()
            for leaf, buffer in hidden_buffers(module).items()
        },
        "modes": {moment: values for moment, values in modes.items() if values},
        "frozen": [name for name, parameter in parameters.items() if not parameter.requires_grad],
        "clear_gradients": position.clear_gradients,
        "gradients": {} if position.clear_gradients else gradients_of(parameters),
        "step": numbers_of(learner.step),
        "callbacks": callback_states.capture(learner.callbacks),
        "cbstate": entries.capture(learner.cbstate),
        "data": states.capture(learner.data, data_name, None if start is None else start.parts),
        "started": {} if start is None else {str(data_name): start.values},
        "random": {moment: state.as_dict() for moment, state in moments.items() if state is not None},
    }


def refuse_unsaveable_run(learner: Any) -> None:
    """Refuse a learner of which a checkpoint could not hold something, before the first step instead of at a save.

    A parameter without a shape passes: it has one after the first batch.

    Raises:
        NotSaveableError: naming the parameter, the buffer, the callback's state or the entry of `cbstate`.
        NotResumableError: if an optimizer holds a parameter that belongs to no model, or data cannot be run over again.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner()
        >>> learner.model.register_buffer("phase", torch.zeros(2, dtype=torch.complex128))
        >>> refuse_unsaveable_run(learner)
        Traceback (most recent call last):
        ...
        treadle.errors.NotSaveableError: A checkpoint cannot hold phase, a tensor of torch.complex128.
        ...
    """
    if not hasattr(learner_of(learner), "position"):
        raise not_a_learner(learner)
    refuse_unresumable(learner.data)
    tensors: dict[str, torch.Tensor] = {}
    for name, module in models_by_name(learner.model).items():
        for key, value in module.state_dict().items():
            full = f"{name}.{key}" if name else key
            if not isinstance(value, torch.Tensor):
                flatten(value, full, tensors)
            elif not is_lazy(value):
                refuse_unsaveable({full: value})
    for name, part in parts_of_run(learner).items():
        flatten(part, name, tensors)


def refuse_other_passes(learner: Any) -> None:
    """Refuse data whose next pass would not begin as the first one did; see `Passes`."""
    phase, position = learner.progress.phase, learner_of(learner).position
    under_way = None if phase is None else phase.data_name
    refuse_unresumable(learner.data, under_way=under_way)
    for name, passes in position.passes.items():
        if name in learner.data:
            passes.refuse_unrepeatable(sources_of(learner))


def optional_callbacks(learner: Any, saved: Mapping[str, Any], without: Collection[str]) -> set[str]:
    """The keys of callbacks that may be there or not."""
    current = callback_states.keys(learner.callbacks)
    optional = {key for key, callback in current.items() if callback.optional_state}
    return (
        optional
        | {key for key in current if key not in saved}
        | {key for key in saved if key not in current}
        | {*without}
    )


def all_parameters(learner: Any) -> dict[str, nn.Parameter]:
    """The parameters of a learner's models and loss function by name."""
    return optimizer_state.named_parameters(models_by_name(learner.model), learner.lossfn)


def gradients_of(parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    """The gradients that the next step adds to."""
    return {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}


def numbers_of(step: Mapping[str, Any]) -> dict[str, Any]:
    """What of a step's state is a number: handlers of the end of an epoch may look at the last loss."""
    return {
        name: value
        for name, value in step.items()
        if isinstance(value, int | float | str) or (isinstance(value, torch.Tensor) and value.numel() == 1)
    }
