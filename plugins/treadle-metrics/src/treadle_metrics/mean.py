"""`Mean`: the plain mean of values, which stay on their device until it is asked for."""

from __future__ import annotations

from typing import Any

import torch

#: So many values of an accelerator are added up together.
BLOCK = 64


class Mean:
    """The plain mean of the values since the last reset. The default `statistic` of a `Metric`.

    Values on an accelerator are added up there, in blocks, and never waited for.

    Example:
        >>> mean = Mean()
        >>> mean.compute() is None
        True
        >>> for value in (1.0, 2.0, 6.0):
        ...     mean.update(value)
        >>> mean.compute()
        3.0
    """

    __slots__ = ("_count", "_total", "_waiting")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self._count = 0
        self._total: float | torch.Tensor = 0.0
        self._waiting: list[torch.Tensor] = []

    def update(self, value: float | torch.Tensor) -> None:
        """Take a value: a number, or a tensor with one element."""
        self._count += 1
        if type(value) is float or not isinstance(value, torch.Tensor):  # the first is the quicker question
            self._total += value
        else:
            self._wait_for(value)

    def compute(self) -> float | torch.Tensor | None:
        """The mean, where the values are; None if there is no value."""
        self._add_up()
        return self._total / self._count if self._count else None

    def state_dict(self) -> dict[str, Any]:
        """The sum so far, the values that wait to be added to it, and how many there were."""
        return {"count": self._count, "total": self._total, "waiting": list(self._waiting)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._count, self._total, self._waiting = state["count"], state["total"], list(state["waiting"])

    def _wait_for(self, value: torch.Tensor) -> None:
        waiting = self._waiting
        if waiting and (len(waiting) == BLOCK or waiting[-1].device != value.device):
            self._add_up()
        self._waiting.append(value.detach().reshape(()))

    def _add_up(self) -> None:
        if self._waiting:
            block = torch.stack(self._waiting)
            wide = torch.float32 if block.device.type == "mps" else torch.float64  # which MPS does not have
            self._total = block.sum(dtype=wide) + self._total
            self._waiting = []
