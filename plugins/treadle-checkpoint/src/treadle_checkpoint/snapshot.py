"""Everything that a run consists of, taken from a learner and put back into one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from treadle import PropDict
from treadle.authoring import position_of
from treadle.loop.progress import COUNTERS
from treadle.state.random_state import RandomState

from treadle_checkpoint import callback_states, loaders, model_state, optimizer_state, random_states, shared_entries
from treadle_checkpoint.errors import NotSaveableError
from treadle_checkpoint.plain import put_together, take_apart
from treadle_checkpoint.position import Position


class Snapshot:
    """A run, as it is at one moment; shares no memory with the learner once it was written.

    Args:
        model: The tensors of the models by name.
        model_notes: What no tensor says of the models.
        rest: All else, a tree taken apart; see `plain`.
        tensors: The tensors of that tree.
    """

    def __init__(
        self, model: dict[str, torch.Tensor], model_notes: Any, rest: Any, tensors: dict[str, torch.Tensor]
    ) -> None:
        self.model, self.model_notes, self.rest, self.tensors = model, model_notes, rest, tensors


def take(learner: Any, position: Position) -> Snapshot:
    """Take a snapshot of a learner, or of what a callback that may read all of it sees.

    Args:
        learner: The learner, between two steps or two epochs.
        position: Where it stands.

    Raises:
        NotSaveableError: if a callback or an entry of `cbstate` keeps what no checkpoint can hold.
        NotResumableError: if an optimizer holds a parameter that belongs to no model.
    """
    now = position_of(learner)
    models = model_state.models_by_name(learner.model)
    parameters = optimizer_state.named_parameters(models, learner.lossfn)
    model, notes = model_state.gather(models)
    tensors: dict[str, torch.Tensor] = {}
    rest: dict[str, Any] = {}
    for name, tree in {
        "position": asdict(position),
        "progress": {name: getattr(learner.progress, name) for name in COUNTERS},
        "clear_gradients": now.clear_gradients,
        "optimizer": optimizer_state.gather(learner.optimizer, parameters),
        "lossfn": learner.lossfn.state_dict() if isinstance(learner.lossfn, nn.Module) else {},
        "frozen": [name for name, parameter in parameters.items() if not parameter.requires_grad],
        "gradients": {} if now.clear_gradients else gradients(parameters),
        "step": numbers(learner.step),
        "callbacks": callback_states.gather(learner.callbacks),
        "cbstate": shared_entries.gather(learner.cbstate),
        "loaders": loaders.gather(learner.data, position.data),
        "random": random(learner.data, now),
    }.items():
        rest[name] = take_apart(tree, name, tensors)
    return Snapshot(model, notes, rest, tensors)


def gradients(parameters: Mapping[str, nn.Parameter]) -> dict[str, torch.Tensor]:
    """The gradients that the next step adds to."""
    return {name: parameter.grad for name, parameter in parameters.items() if parameter.grad is not None}


def numbers(step: Mapping[str, Any]) -> dict[str, Any]:
    """What of a step's state is a number: handlers of the end of an epoch may look at the last loss."""
    return {
        name: value
        for name, value in step.items()
        if isinstance(value, int | float | str) or (isinstance(value, torch.Tensor) and value.numel() == 1)
    }


def random(data: Mapping[str, Any], position: Any) -> dict[str, Any]:
    """The random generators' states: now, when the epoch was entered, and before its first batch."""
    moments = {"now": RandomState(data.values()), "entry": position.at_entry, "start": position.at_start}
    return {moment: random_states.as_tree(state) for moment, state in moments.items() if state is not None}


class Restorer:
    """Puts a snapshot back into a learner, as often as it is asked.

    Args:
        learner: The learner.
        snapshot: The snapshot.
        where: Where it comes from, for messages.
        without: Keys of callbacks whose states do not matter.

    Raises:
        MismatchError: if the two do not fit together; the learner is as it was.
    """

    def __init__(self, learner: Any, snapshot: Snapshot, where: str, without: Collection[str]) -> None:
        self.learner, self.snapshot, self.where, self.without = learner, snapshot, where, without
        model_state.fitting(learner.model, snapshot.model, snapshot.model_notes, where, exact=True)
        optimizer_state.check(learner.optimizer, self.part("optimizer"), self.parameters)
        callback_states.check(learner.callbacks, self.part("callbacks"), without)
        self.position = Position(**self.part("position"))

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The learner's parameters by name."""
        return optimizer_state.named_parameters(model_state.models_by_name(self.learner.model), self.learner.lossfn)

    def part(self, name: str) -> Any:
        """A part of the snapshot, all of it new."""
        return put_together(self.snapshot.rest[name], self.snapshot.tensors)

    @torch.no_grad()
    def put_all(self, moment: str, *, data: bool = True) -> None:
        """Put everything back.

        Args:
            moment: The random generators are put back as they were "now", when the snapshot was taken, or if they
                are known as they were at the "entry" or the "start" of the epoch that was under way.
            data: Whether the learner's data are those of the run already. Default: yes.
        """
        learner, parameters = self.learner, self.parameters
        shared_entries.put(learner.cbstate, self.part("cbstate"))
        callback_states.put(learner.callbacks, self.part("callbacks"), self.without)
        model_state.put(learner.model, self.snapshot.model, self.snapshot.model_notes, self.where)
        optimizer_state.put(learner.optimizer, self.part("optimizer"), parameters)
        if isinstance(learner.lossfn, nn.Module):
            learner.lossfn.load_state_dict(self.part("lossfn"))
        frozen, kept = set(self.part("frozen")), self.part("gradients")
        for name, parameter in parameters.items():
            parameter.requires_grad_(name not in frozen)
            parameter.grad = kept[name].to(parameter.device) if name in kept else None
        learner.step = PropDict(self.part("step"))
        for name, value in self.part("progress").items():
            setattr(learner.progress, name, value)
        learner.position.clear_gradients = self.part("clear_gradients")
        self.random_state(moment, data=data).put_back()

    def put_all_or_nothing(self, moment: str) -> None:
        """Put everything back; if a callback or an entry of `cbstate` refuses its state, nothing is changed."""
        learner, names = self.learner, set(self.learner.cbstate)
        tensors: dict[str, torch.Tensor] = {}
        try:
            own = {
                "cbstate": shared_entries.gather(learner.cbstate),
                "callbacks": callback_states.gather(learner.callbacks),
            }
            before = take_apart(own, "", tensors)
            tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        except NotSaveableError:
            before = None
        try:
            self.put_all(moment, data=False)
        except Exception:
            if before is not None:
                own = put_together(before, tensors)
                for name in set(learner.cbstate) - names:
                    del learner.cbstate[name]
                shared_entries.put(learner.cbstate, own["cbstate"])
                callback_states.put(learner.callbacks, own["callbacks"], ())
            raise

    def put_loaders(self) -> None:
        """Give loaders that keep a state theirs back; they use it when they are iterated next."""
        loaders.put(self.learner.data, self.part("loaders"))

    def random_state(self, moment: str, *, data: bool = True) -> RandomState:
        """The random generators' states at a moment, or now if that one is not known."""
        told = self.part("random")
        return random_states.from_tree(told.get(moment, told["now"]), self.learner.data.values(), own=data)
