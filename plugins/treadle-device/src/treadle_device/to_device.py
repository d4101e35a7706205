"""`ToDevice`: move the model once and every batch before it is used."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import torch
from treadle import Callback, ConflictResolution, Learner, RunFirst, Unresolvable, Write
from treadle.authoring import by_name, list_of, map_tensors
from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_device.successors import follow, successors

ENTRIES = 'ToDevice("cuda", entries=("xs", "ys", "mask"))'


class ToDevice(Callback):
    """Move the model and the optimizer's state when the learner is built, and every batch before its step.

    If `move_model` returns a new module, the learner has that one from then on, and the optimizer
    holds its parameters, each with the state of the one that it replaces. A loss function that is a
    module goes where the models went, with its weights of classes. This callback runs before all others
    that write the same state.

    Args:
        move_data: A device or its name; or a function, called with each tensor of a batch, however
            nested, whose result replaces the tensor; and with a copy of each object that has a method
            `to`. Other callbacks can read it, as a function, in `move_data`.
        move_model: A device or its name; or a function, called with each model, that returns the
            model to use. Default: like `move_data`.
        entries: The parts of the step's state that are moved, where a phase has them.

    Writes: `model`, `params`, `lossfn`, `optimizer`, `step.xs`, `step.ys` (`step.` and what `entries` says).

    Raises:
        ArgumentTypeError: if `move_data` or `move_model` is neither a device nor a function, or `entries` is not
            a list of names; in `on_init`, if `move_model` does not return a module.
        ArgumentValueError: if the device is unknown or not available; in `on_init`, if the optimizer
            cannot follow, because a new module has other parameters.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner(ToDevice(lambda t: t.double(), lambda m: m.double()))
        >>> _ = learner.fit(1)
        >>> learner.model.weight.dtype, learner.step.yhats.dtype
        (torch.float64, torch.float64)
    """

    move_data: Callable[[Any], Any]
    state_access = dict.fromkeys(("model", "params", "lossfn", "optimizer", "step.xs", "step.ys"), Write)

    @classmethod
    def example(cls) -> Self:
        return cls("cpu")

    def __init__(
        self,
        move_data: str | torch.device | Callable[[Any], Any],
        move_model: str | torch.device | Callable[[torch.nn.Module], torch.nn.Module] | None = None,
        *,
        entries: Iterable[str] = ("xs", "ys"),
    ) -> None:
        self.move_data = as_move(move_data, "move_data")
        self.move_model = as_move(move_data if move_model is None else move_model, "move_model")
        self.entries = list_of(entries, "entries", str, ENTRIES)
        if invalid := [entry for entry in self.entries if not entry.isidentifier()]:
            raise ArgumentValueError(
                f"entries has {invalid[0]!r}, and the parts of a step's state have names.\n"
                f"Fix: write, for example:\n    {ENTRIES}"
            )
        if self.entries != ("xs", "ys"):
            moved = ("model", "params", "lossfn", "optimizer", *(f"step.{entry}" for entry in self.entries))
            self.state_access = dict.fromkeys(moved, Write)
        self._made: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        if isinstance(other, ToDevice):
            return Unresolvable("Each of them moves the model and the batches. Keep one.")
        return RunFirst(self)

    def on_init(self, learner: Learner) -> None:
        models = by_name(learner.model)
        before = {name: dict(model.named_parameters()) for name, model in models.items()}
        lossfn = learner.lossfn
        held = dict(lossfn.named_parameters()) if isinstance(lossfn, torch.nn.Module) else {}
        places = {p: (p.device, p.dtype) for parameters in (*before.values(), held) for p in parameters.values()}
        moved = {name: self._moved(model) for name, model in models.items()}
        replaced: dict[torch.Tensor, torch.Tensor] = {}
        for name, model in moved.items():
            replaced |= successors(before[name], dict(model.named_parameters()))
        if any(moved[name] is not model for name, model in models.items()):
            learner.model = moved if isinstance(learner.model, Mapping) else moved[""]
        if isinstance(lossfn, torch.nn.Module):
            lossfn.to(**self._destination(moved.values(), {dtype for _, dtype in places.values()}))
            replaced |= successors(held, dict(lossfn.named_parameters()))
        if replaced or any((p.device, p.dtype) != place for p, place in places.items()):
            for optimizer in by_name(learner.optimizer).values():
                follow(optimizer, replaced)

    def on_step_begin(self, learner: Learner) -> None:
        step = learner.step
        for entry in self.entries:
            if entry in step:
                step[entry] = map_tensors(self.move_data, step[entry])

    def _destination(self, models: Iterable[torch.nn.Module], before: set[torch.dtype]) -> dict[str, Any]:
        """Where the models went, as arguments of a module's `to`; nothing where they are in several places."""
        if isinstance(self.move_model, Move):
            return {"device": self.move_model.device}
        parameters = [parameter for model in models for parameter in model.parameters()]
        devices, dtypes = {p.device for p in parameters}, {p.dtype for p in parameters if p.is_floating_point()}
        destination: dict[str, Any] = {"device": next(iter(devices))} if len(devices) == 1 else {}
        if len(dtypes) == 1 and not dtypes <= before:
            destination["dtype"] = next(iter(dtypes))
        return destination

    def _moved(self, model: torch.nn.Module) -> torch.nn.Module:
        if model in self._made:  # on_init ran before, and a copy is not copied again
            return model
        moved = self.move_model(model)
        if not isinstance(moved, torch.nn.Module):
            raise ArgumentTypeError(
                f"move_model returned {moved!r:.60} in place of the model.\nFix: return a module:\n"
                f'    ToDevice(move_data, lambda model: model.to("cuda"))'
            )
        if moved is not model:
            self._made.add(moved)
        return moved


def as_move(move: object, name: str) -> Callable[[Any], Any]:
    """The function that moves, or one that moves to the device."""
    if isinstance(move, str | torch.device):
        return Move(move)
    if callable(move):
        return move
    raise ArgumentTypeError(
        f"{name} must be a device or a function, got {move!r}.\nFix: pass one of these:\n"
        f'    ToDevice("cuda")\n    ToDevice(lambda tensor: tensor.double(), lambda model: model.double())'
    )


class Move:
    """Moves a tensor or a module to a device.

    Copies to CUDA do not wait: from pinned memory (`DataLoader(pin_memory=True)`) they run beside
    the computation. Elsewhere a copy that is not waited for may be used before it has ended.

    Raises:
        ArgumentValueError: if torch does not know the device, or this machine does not have it.
    """

    def __init__(self, device: str | torch.device) -> None:
        try:
            self.device = torch.device(device)
        except RuntimeError:
            raise ArgumentValueError(
                f"{device!r} is not a device that torch knows.\n"
                f"Fix: use 'cuda', 'cuda:1', 'mps' or 'cpu', or the best device of this machine:\n    ToGPU()"
            ) from None
        if reason := unavailable(self.device):
            raise ArgumentValueError(
                f"The device {str(self.device)!r} cannot be used: {reason}.\n"
                f"Fix: use the best device of this machine:\n    ToGPU()"
            )

    def __call__(self, thing: Any) -> Any:
        if isinstance(thing, torch.Tensor):
            return thing.to(self.device, non_blocking=self.device.type == "cuda")
        return thing.to(self.device)


def unavailable(device: torch.device) -> str | None:
    """Why a device cannot be used on this machine, or None if it can."""
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            return "torch finds no CUDA device"
        if (device.index or 0) >= count:
            return f"torch finds {count} CUDA devices, counted from 0"
    if device.type == "mps" and not torch.backends.mps.is_available():
        return "torch finds no MPS device"
    return None
