"""The state of a run: everything that it consists of, captured from a learner and put back into one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from treadle.errors import NotSaveableError
from treadle.state.propdict import PropDict
from treadle.state.random_state import RandomState
from treadle.state.run import callback_states, entries, loader_states, optimizer_state
from treadle.state.run.model_state import load_model_state, match_model_state, model_state, models_by_name
from treadle.state.run.values import flatten, unflatten

if TYPE_CHECKING:
    from treadle.learner import Learner

#: What is kept of a learner's progress.
COUNTERS = ("epoch", "epochs", "steps", "updates", "accumulated")


class RunState:
    """The state of a run at one moment, by names, so that it fits another learner that was built as this one was.

    It consists of the models' parameters and buffers, which parameters are trained, the optimizers, the gradients of
    an unfinished update, the loss function's state, the callbacks' states, `cbstate`, the progress, the random
    generators and the states of loaders.

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
            MismatchError: for other models, optimizers or callbacks than those that were captured.
        """
        match_model_state(learner.model, self.model, where, exact=True)
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
        """Put everything back but the states of loaders, as often as needed; the learner passed `check`.

        If a callback or an entry of `cbstate` refuses its state, the learner stays as it was.

        Args:
            moment: The random generators are put back as they were "now", when the state was captured, or if they
                are known as they were at the "entry" or the "start" of the epoch that was under way.
            data: Whether the learner's data are those of the run already. Default: yes.
            where, without: See `check`.
        """
        self._put_back_callbacks(learner, without)
        with torch.no_grad():
            load_model_state(learner.model, self.model, where)
            parameters = all_parameters(learner)
            optimizer_state.put_back(learner.optimizer, self.part("optimizer"), parameters)
            if isinstance(learner.lossfn, nn.Module):
                learner.lossfn.load_state_dict(self.part("lossfn"))
            frozen, gradients = set(self.part("frozen")), self.part("gradients")
            for name, parameter in parameters.items():
                parameter.requires_grad_(name not in frozen)
                parameter.grad = gradients[name].to(parameter.device) if name in gradients else None
        learner.step = PropDict(self.part("step"))
        for name, value in self.part("progress").items():
            setattr(learner.progress, name, value)
        learner.position.clear_gradients = self.part("clear_gradients")
        self.random_state(learner, moment, data=data).put_back()

    def put_back_loaders(self, learner: Learner) -> None:
        """Give loaders that have a state theirs back; they use it when they are iterated next."""
        loader_states.put_back(learner.data, self.part("loaders"))

    def random_state(self, learner: Learner, moment: str, *, data: bool = True) -> RandomState:
        """The random generators' states at a moment, or now if that one is not known; see `put_back`."""
        moments = self.part("random")
        return RandomState.from_dict(moments.get(moment, moments["now"]), learner.data.values(), own=data)

    def _put_back_callbacks(self, learner: Learner, without: Collection[str]) -> None:
        cbstate, callbacks, names = learner.cbstate, learner.callbacks, set(learner.cbstate)
        tensors: dict[str, torch.Tensor] = {}
        try:
            before = flatten([entries.capture(cbstate), callback_states.capture(callbacks)], "", tensors)
            tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        except NotSaveableError:
            before = None
        try:
            entries.put_back(cbstate, self.part("cbstate"))
            callback_states.put_back(callbacks, self.part("callbacks"), without)
        except Exception:
            if before is not None:
                for name in set(cbstate) - names:
                    del cbstate[name]
                cbstate_before, callbacks_before = unflatten(before, tensors)
                entries.put_back(cbstate, cbstate_before)
                callback_states.put_back(callbacks, callbacks_before, ())
            raise


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
        NotResumableError: if an optimizer holds a parameter that belongs to no model.

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
    progress, phase = learner.progress, learner.progress.phase
    position = getattr(learner, "_learner", learner).position
    parameters = all_parameters(learner)
    moments = {"now": RandomState(learner.data.values()), "entry": position.at_entry, "start": position.at_start}
    tensors: dict[str, torch.Tensor] = {}
    parts = {
        "progress": {name: getattr(progress, name) for name in COUNTERS},
        "optimizer": optimizer_state.capture(learner.optimizer, parameters),
        "lossfn": learner.lossfn.state_dict() if isinstance(learner.lossfn, nn.Module) else {},
        "frozen": [name for name, parameter in parameters.items() if not parameter.requires_grad],
        "clear_gradients": position.clear_gradients,
        "gradients": {} if position.clear_gradients else gradients_of(parameters),
        "step": numbers_of(learner.step),
        "callbacks": callback_states.capture(learner.callbacks),
        "cbstate": entries.capture(learner.cbstate),
        "loaders": loader_states.capture(learner.data, None if phase is None else phase.data_name),
        "random": {moment: state.as_dict() for moment, state in moments.items() if state is not None},
    }
    parts = {name: flatten(part, name, tensors) for name, part in parts.items()}
    if copy:
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    return RunState(model_state(learner.model, copy=copy), parts, tensors)


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
