"""`Accumulator`: an object with update, compute and reset, torchmetrics' or another, in one form."""

from __future__ import annotations

import copy
from typing import Any

import torch

from treadle_metrics.attributes import attributes, copied, put_attributes
from treadle_metrics.number import number


def is_accumulator(value: Any) -> bool:
    """Whether an object has the methods `update`, `compute` and `reset`."""
    return not isinstance(value, type) and all(
        callable(getattr(value, m, None)) for m in ("update", "compute", "reset")
    )


class Accumulator:
    """An object that accumulates what it is given.

    Args:
        target: Any object with `update`, `compute` and `reset`; with torchmetrics' `forward`, `to` and
            `device` these are used.
        owner: The metric's name, for messages.
    """

    def __init__(self, target: Any, owner: str) -> None:
        self.target = target
        self.owner = owner
        self._batch: Any = None  # a second one, for the value of one batch alone
        self._filled = False

    def reset(self) -> None:
        """Forget everything."""
        self.target.reset()
        self._filled = False

    def update(self, *values: Any) -> None:
        """Take values."""
        self._follow(values[0])
        self.target.update(*values)
        self._filled = True

    def step(self, *values: Any) -> Any:
        """Take values, and compute what they give by themselves."""
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

    def compute(self) -> float | torch.Tensor | None:
        """What all values since the last reset give; None if there is no value."""
        if not self._filled:
            return None
        value = self.target.compute()
        return None if value is None else number(value, self.owner)

    def _follow(self, value: Any) -> None:
        """Move a torchmetrics object to where the values are; the values stay."""
        if isinstance(value, torch.Tensor):
            device = getattr(self.target, "device", None)
            if (
                isinstance(device, torch.device)
                and device != value.device
                and callable(getattr(self.target, "to", None))
            ):
                self.target = self.target.to(value.device)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the object."""
        return {"filled": self._filled, "target": state_of(self.target, self.owner)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._filled = state["filled"]
        put_state(self.target, state["target"])


def torchmetrics_in(target: Any) -> dict[str, Any]:
    """The object and those inside of it that are torchmetrics', whose states are in no `state_dict` by default."""
    modules = target.named_modules() if isinstance(target, torch.nn.Module) else ()
    return {name: module for name, module in modules if hasattr(module, "metric_state")}


def state_of(target: Any, owner: str) -> dict[str, Any]:
    """The running state of an object: torchmetrics' own, its `state_dict`, or its attributes.

    Raises:
        MetricError: if it cannot be kept in a checkpoint.
    """
    if inner := torchmetrics_in(target):
        return {
            name: {"_update_count": module._update_count, **copied(module.metric_state)}
            for name, module in inner.items()
        }
    if callable(getattr(target, "state_dict", None)):
        state: dict[str, Any] = target.state_dict()
        return state
    return attributes(target, owner)


def put_state(target: Any, state: dict[str, Any]) -> None:
    """Give an object the state that `state_of` took from it."""
    if inner := torchmetrics_in(target):
        for name, module in inner.items():
            put_attributes(module, state[name])
            module.to(module.device)  # the states were saved on a device, and may have been loaded on another
            module._computed = None  # what it computed last belongs to another state
    elif callable(getattr(target, "load_state_dict", None)):
        target.load_state_dict(state)
    else:
        put_attributes(target, state)
