"""`ToDevice`: move the model once and every batch before it is used."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from treadle import Callback, ConflictResolution, Learner, RunFirst, Unresolvable, Write
from treadle.errors import ArgumentTypeError

from treadle_device.batch import map_tensors
from treadle_device.move import Move, as_device
from treadle_device.successors import follow, successors


class ToDevice(Callback):
    """Move the model and the optimizer's state when the learner is built, and every batch before its step.

    If `move_model` returns another module than it was given, the learner has that one from then
    on, and the optimizer holds its parameters, with the state that their predecessors had.
    Of two callbacks that change the same, this one runs first.

    Args:
        move_data: A device or its name; or a function, called with each tensor of a batch, however
            nested, whose result takes the tensor's place.
        move_model: A device or its name; or a function, called with each model, that returns the
            model to use. Default: like `move_data`.
        entries: The parts of the step's state that are moved, those of them that a phase has.
            Default: `("xs", "ys")`.

    Reads: nothing else.
    Writes: `model`, `params`, `optimizer`, `step.xs`, `step.ys` (`step.` and what `entries` says).

    Raises:
        ArgumentTypeError: if `move_data` or `move_model` is neither a device nor a function; in
            `on_init`, if `move_model` returns no module.
        ArgumentValueError: if there is no such device; in `on_init`, if the optimizer cannot follow,
            because a new module has other parameters.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner(ToDevice(lambda t: t.double(), lambda m: m.double()))
        >>> _ = learner.fit(1)
        >>> learner.model.weight.dtype, learner.step.yhats.dtype
        (torch.float64, torch.float64)
    """

    move_data: Callable[[Any], Any]
    state_access = {
        "model": Write,
        "params": Write,
        "optimizer": Write,
        "step.xs": Write,
        "step.ys": Write,
    }

    def __init__(
        self,
        move_data: str | torch.device | Callable[[Any], Any],
        move_model: str | torch.device | Callable[[torch.nn.Module], torch.nn.Module] | None = None,
        *,
        entries: Iterable[str] = ("xs", "ys"),
    ) -> None:
        self.move_data = as_move(move_data, "move_data")
        self.move_model = as_move(move_data if move_model is None else move_model, "move_model")
        self.entries = tuple(entries)
        if self.entries != ("xs", "ys"):
            moved = ("model", "params", "optimizer", *(f"step.{entry}" for entry in self.entries))
            self.state_access = dict.fromkeys(moved, Write)
        self._made: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        if isinstance(other, ToDevice):
            return Unresolvable("Each of them moves the model and the batches. Keep one.")
        return RunFirst(self)

    def on_init(self, learner: Learner) -> None:
        models = by_name(learner.model)
        before = {name: dict(model.named_parameters()) for name, model in models.items()}
        places = {p: (p.device, p.dtype) for parameters in before.values() for p in parameters.values()}
        moved = {name: self._moved(model) for name, model in models.items()}
        replaced: dict[torch.Tensor, torch.Tensor] = {}
        for name, model in moved.items():
            replaced |= successors(before[name], dict(model.named_parameters()))
        if any(moved[name] is not model for name, model in models.items()):
            learner.model = moved if isinstance(learner.model, Mapping) else moved[""]
        if replaced or any((p.device, p.dtype) != place for p, place in places.items()):
            for optimizer in by_name(learner.optimizer).values():
                follow(optimizer, replaced)

    def on_step_begin(self, learner: Learner) -> None:
        step = learner.step
        for entry in self.entries:
            if entry in step:
                step[entry] = map_tensors(self.move_data, step[entry])

    def _moved(self, model: torch.nn.Module) -> torch.nn.Module:
        if model in self._made:  # on_init ran before: a copy of the copy is not wanted
            return model
        moved = self.move_model(model)
        if not isinstance(moved, torch.nn.Module):
            raise ArgumentTypeError(
                f"move_model returned {moved!r:.60} in place of the model. Return a module: "
                f'ToDevice(move_data, lambda model: model.to("cuda"))'
            )
        if moved is not model:
            self._made.add(moved)
        return moved


def by_name(state: Any) -> dict[str, Any]:
    """One or several models or optimizers, by name; a single one has the empty name."""
    return dict(state) if isinstance(state, Mapping) else {"": state}


def as_move(move: object, name: str) -> Callable[[Any], Any]:
    """A function that moves: the function given, or one for the device given."""
    if isinstance(move, str | torch.device):
        return Move(as_device(move))
    if callable(move):
        return move
    raise ArgumentTypeError(
        f'ToDevice needs a device or a function for {name}, got {move!r}: ToDevice("cuda"), or '
        f"ToDevice(lambda tensor: tensor.double(), lambda model: model.double())"
    )
