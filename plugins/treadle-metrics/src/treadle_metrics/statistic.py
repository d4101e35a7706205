"""What makes an epoch's value of its steps' values, beside `Mean`: `Smooth`; values on a device stay there."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from treadle.authoring import Mean, real_number

from treadle_metrics.abstract_metric import MetricError, Value

if TYPE_CHECKING:
    from treadle_metrics.accumulator import Accumulator


class Smooth:
    """The exponentially smoothed value: m = beta * m + (1 - beta) * value, divided by 1 - beta^n.

    The division corrects the bias of the start at m = 0, so that the first value comes out as it is.
    Usable as the `statistic` of a `Metric`.

    Args:
        beta: The weight of the past, at least 0 and below 1; about 1 / (1 - beta) values count.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `beta` is not such a number.

    Example:
        >>> smooth = Smooth(beta=0.9)
        >>> for value in (1.0, 2.0):
        ...     smooth.update(value)
        >>> round(smooth.compute(), 8)
        1.52631579

    Source: fastai, `SmoothenValue`.
    """

    def __init__(self, beta: float = 0.98) -> None:
        self.beta = real_number(beta, "beta", "Smooth(beta=0.98)", least=0, below=1)
        self.reset()

    def reset(self) -> None:
        self._count = 0
        self._moment: float | torch.Tensor = 0.0

    def update(self, value: float | torch.Tensor, weight: Any = None) -> None:
        """Take a value. All of them weigh the same."""
        self._count += 1
        self._moment = self.beta * self._moment + (1 - self.beta) * value

    def compute(self) -> float | torch.Tensor | None:
        """The smoothed value, on the values' device; None if there is no value."""
        return self._moment / (1 - self.beta**self._count) if self._count else None

    def part(self) -> dict[str, Any]:
        """What other processes need of it."""
        return self.state_dict()

    def merge(self, parts: Sequence[dict[str, Any]]) -> None:
        """Become the smoothed mean of what several processes have taken, step by step."""
        taken = [part for part in parts if part["count"]]
        self._count = max((part["count"] for part in taken), default=0)
        self._moment = sum(part["moment"] for part in taken) / max(len(taken), 1)

    def state_dict(self) -> dict[str, Any]:
        return {"count": self._count, "moment": self._moment}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._count, self._moment = state["count"], state["moment"]


class ByColumn:
    """A statistic of numbers or, where dicts of numbers come, one for each of their keys.

    Args:
        statistic: The statistic, which is copied for each key.
        owner: The metric's name, for messages.
    """

    __slots__ = ("columns", "owner", "single")

    def __init__(self, statistic: Mean | Accumulator, owner: str) -> None:
        self.single, self.owner = statistic, owner
        self.columns: dict[str, Mean | Accumulator] = {}

    def reset(self) -> None:
        self.single.reset()
        self.columns = {}

    def update(self, value: Value, *weight: Any) -> None:
        is_dict = isinstance(value, dict)
        if self.columns if not is_dict else not self.columns and self.single.compute() is not None:
            raise MetricError(
                f"The metric {self.owner!r} gave a dict in one step and a number in another.\n"
                f"Fix: return the same in every step; a key may be missing."
            )
        if not isinstance(value, dict):
            self.single.update(value, *weight)
            return
        for name, item in value.items():
            if name not in self.columns:
                self.columns[name] = copy.deepcopy(self.single)
            self.columns[name].update(item, *weight)

    def compute(self) -> Value | None:
        """The value, or those by column; None if there is none."""
        if not self.columns:
            return self.single.compute()
        values: dict[str, Any] = {name: column.compute() for name, column in self.columns.items()}
        return {name: value for name, value in values.items() if value is not None}

    def part(self) -> dict[str, Any]:
        """What other processes need of it."""
        columns = {name: column.part() for name, column in self.columns.items()}
        return {"single": self.single.part(), "columns": columns}

    def merge(self, parts: Sequence[dict[str, Any]]) -> None:
        """Become the statistic of what several processes have taken."""
        names = dict.fromkeys(name for part in parts for name in part["columns"])
        for name in names:
            if name not in self.columns:
                self.columns[name] = copy.deepcopy(self.single)
            self.columns[name].merge([part["columns"][name] for part in parts if name in part["columns"]])
        self.columns = {name: self.columns[name] for name in names}
        self.single.merge([part["single"] for part in parts])

    def check_mergeable(self) -> None:
        """Refuse a statistic that several processes cannot combine."""
        if not isinstance(self.single, Mean):
            self.single.check_mergeable()

    def state_dict(self) -> dict[str, Any]:
        columns = {name: column.state_dict() for name, column in self.columns.items()}
        return {"single": self.single.state_dict(), "columns": columns}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.single.load_state_dict(state["single"])
        self.columns = {}
        for name, column in state["columns"].items():
            self.columns[name] = copy.deepcopy(self.single)
            self.columns[name].load_state_dict(column)
