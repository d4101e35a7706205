"""`Accumulator`: an object with `update`, `compute` and `reset`, torchmetrics' or another, in one form."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from treadle.authoring import has_state

from treadle_metrics.abstract_metric import Value, attributes, copied, not_mergeable, numbers, set_attributes


def is_accumulator(value: Any) -> bool:
    """Whether an object has the methods `update`, `compute` and `reset`."""
    return not isinstance(value, type) and all(
        callable(getattr(value, method, None)) for method in ("update", "compute", "reset")
    )


class Accumulator:
    """An object that accumulates values, with a state that a checkpoint can hold.

    Args:
        target: Any object with `update`, `compute` and `reset`; with torchmetrics' `forward`, `to` and
            `device` these are used.
        owner: The metric's name, for messages.
    """

    def __init__(self, target: Any, owner: str) -> None:
        self.target = target
        self.owner = owner
        self._located = located(target)
        self._batch: Any = None  # a second one, for the value of one batch alone
        self._filled = False

    def reset(self) -> None:
        self.target.reset()
        self._filled = False

    def update(self, *values: Any) -> None:
        self._follow(values[0])
        self.target.update(*values)
        self._filled = True

    def step(self, *values: Any) -> Any:
        """Take values, and compute the value of these alone."""
        if callable(getattr(self.target, "forward", None)):
            self._follow(values[0])
            self._filled = True
            return self.target(*values)
        if self._batch is None:
            self._batch = copy.deepcopy(self.target)
        self._batch.reset()
        self._batch.update(*values)
        self.update(*values)
        return self._batch.compute()

    def compute(self) -> Value | None:
        """The value of everything since the last reset; None if there is none."""
        if not self._filled:
            return None
        value = self.target.compute()
        return None if value is None else numbers(value, self.owner)

    def _follow(self, value: Any) -> None:
        """Move a torchmetrics object, or a collection of some, to the device of the values."""
        if self._located is not None and isinstance(value, torch.Tensor) and self._located.device != value.device:
            self.target = self.target.to(value.device)
            self._located = located(self.target)

    def part(self) -> dict[str, Any]:
        """What other processes need of it."""
        return self.state_dict()

    def merge(self, parts: Sequence[dict[str, Any]]) -> None:
        """Take over what the objects of all processes have seen."""
        filled = [part["target"] for part in parts if part["filled"]]
        self._filled = bool(filled)
        if not filled:
            return
        modules = torchmetrics_in(self.target)
        if not modules:
            self.target.merge(filled)
            return
        for name, module in modules.items():
            merge_torchmetric(module, [part[name] for part in filled])

    def check_mergeable(self) -> None:
        """Refuse an object that several processes cannot combine."""
        known = has_state(self.target) and callable(getattr(self.target, "merge", None))
        if not known and not torchmetrics_in(self.target):
            kind = type(self.target).__name__
            raise not_mergeable(
                self.owner,
                f"{kind} is not torchmetrics' and has no `merge`",
                f"define {kind}.merge(parts), "
                "state_dict and load_state_dict, where `parts` are what `state_dict` gave in each process.",
            )

    def state_dict(self) -> dict[str, Any]:
        """The running state of the object: torchmetrics' states, its `state_dict`, or its attributes."""
        state: Any
        if modules := torchmetrics_in(self.target):
            if hasattr(self.target, "compute_groups"):  # a collection
                self.target.values(copy_state=False)  # gives the entries of a group the state of its first
            state = {
                name: {"_update_count": module._update_count, **copied(module.metric_state)}
                for name, module in modules.items()
            }
        elif has_state(self.target):
            state = self.target.state_dict()
        else:
            state = attributes(self.target, self.owner)
        return {"filled": self._filled, "target": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._filled = state["filled"]
        if modules := torchmetrics_in(self.target):
            for name, module in modules.items():
                set_attributes(module, state["target"][name])
                module.to(module.device)  # the states were saved on a device, and may have been loaded on another
                module._computed = None  # what it computed last belongs to another state
        elif has_state(self.target):
            self.target.load_state_dict(state["target"])
        else:
            set_attributes(self.target, state["target"])


def torchmetrics_in(target: Any) -> dict[str, Any]:
    """The object and its submodules that are torchmetrics', whose states are in no `state_dict` by default."""
    modules = target.named_modules() if isinstance(target, torch.nn.Module) else ()
    return {name: module for name, module in modules if hasattr(module, "_update_count")}


def merge_torchmetric(module: Any, states: Sequence[dict[str, Any]]) -> None:
    """Give an object of torchmetrics what those of all processes have seen, by the reductions that it declares."""
    for name, reduction in module._reductions.items():
        values = [state[name] for state in states]
        merged: Any
        if isinstance(values[0], torch.Tensor):
            merged = torch.stack(values)
        else:
            merged = [item for value in values for item in value]
        if reduction is not None and len(merged):
            merged = reduction(merged)
        setattr(module, name, [merged] if isinstance(values[0], list) and isinstance(merged, torch.Tensor) else merged)
    module._update_count, module._computed = sum(state["_update_count"] for state in states), None
    module.sync_on_compute = module._to_sync = False  # it has been combined
    module.to(module.device)  # the states came by the CPU


def located(target: Any) -> Any:
    """Of what is moved as a whole, the part that knows its device; None if nothing does."""
    if not callable(getattr(target, "to", None)):
        return None
    parts = (target, *torchmetrics_in(target).values())
    return next((part for part in parts if isinstance(getattr(part, "device", None), torch.device)), None)
