"""`Mean`: the mean of values that have weights; what is on an accelerator is added up there."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import torch

from treadle.errors import ArgumentValueError, DataError

#: How many values on an accelerator are added up together.
BLOCK = 64

#: Added to a number and subtracted again, it leaves the nearest whole one.
NO_FRACTION = 1.5 * 2**52

#: How far a float is from what was rounded to it, at most, relatively.
FLOAT32 = 2**-23

SINGLE = struct.Struct("f")


MIXED = (
    "Some batches of the epoch have rows and others have none, so they cannot be weighed by rows.\n"
    "Fix: weigh all of them alike, or by a function of the step's state:\n"
    "    Metrics(Loss(weight=None), Metric(fn, weight=None))"
)


class Mean:
    """The mean of the values since the last reset, each with a weight. The mean loss of an epoch, or of a metric.

    What is on an accelerator is added up there, in blocks, without waiting for it. A value of weight 0 is left out,
    whatever it is; without any other the mean is NaN.

    A share of the weight, as an accuracy is one of the rows, counts as what was counted: a value that is a whole number
    divided by its weight, rounded, adds that number. So equally many hits give equal means, however they are split.

    Example:
        >>> mean = Mean()
        >>> mean.compute() is None
        True
        >>> for value in (1.0, 2.0, 6.0):
        ...     mean.update(value)
        >>> mean.compute()
        3.0
        >>> mean.update(1.0, weight=2)
        >>> mean.compute()
        2.2
    """

    __slots__ = ("_count", "_invalid", "_total", "_unweighed", "_waiting", "_weight")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._count = self._unweighed = 0
        self._total: float | torch.Tensor = 0.0
        self._weight: float | torch.Tensor = 0
        self._waiting: list[tuple[torch.Tensor, float | torch.Tensor]] = []
        self._invalid: torch.Tensor | None = None  # whether a weight on an accelerator cannot be used

    def update(self, value: float | torch.Tensor, weight: float | torch.Tensor | None = 1) -> None:
        """Take a value.

        Args:
            weight: A number that is finite and not negative, or a tensor on an accelerator. None: there is none, and
                then none of the values has one.

        Raises:
            DataError: if some values have a weight and others have none.
        """
        if weight is None or self._unweighed:
            self._unweighed += weight is None
            if self._unweighed != self._count + 1:
                raise DataError(MIXED)
            weight = 1
        self._count += 1
        if type(value) is float and type(weight) is int and weight:  # nearly always; the rest is slower
            added = value * weight
            whole = added + NO_FRACTION - NO_FRACTION
            if whole != added and abs(whole - added) <= abs(added) * FLOAT32 and is_share(value, whole, weight):
                added = whole
            self._total += added
            self._weight += weight
        elif isinstance(value, torch.Tensor) or isinstance(weight, torch.Tensor):
            self._wait(value, weight)
        elif weight:
            whole = value * weight + NO_FRACTION - NO_FRACTION
            self._total += whole if is_share(value, whole, weight) else value * weight
            self._weight += weight

    def compute(self) -> float | torch.Tensor | None:
        """The mean, on the values' device; None if there is no value.

        Raises:
            ArgumentValueError: if a weight on an accelerator was negative or not finite.
        """
        self._add_up()
        if self._invalid is not None and self._invalid.item():
            raise ArgumentValueError(
                "The weights of some batches of the epoch are negative or not finite.\n"
                "Fix: return others:\n    Metric(fn, weight=lambda step: (step.ys >= 0).sum())"
            )
        if not self._count:
            return None
        if isinstance(self._weight, torch.Tensor) or self._weight:
            return self._total / self._weight
        return math.nan

    def part(self) -> dict[str, Any]:
        """What other processes need of it, whose means are combined with it."""
        self._add_up()
        return self.state_dict()

    def merge(self, parts: Sequence[dict[str, Any]]) -> None:
        """Become the mean of the values of several processes.

        Raises:
            DataError: if some values have a weight and others have none.

        Example:
            >>> here, there = Mean(), Mean()
            >>> here.update(1.0)
            >>> there.update(4.0, weight=2)
            >>> here.merge([here.part(), there.part()])
            >>> here.compute()
            3.0
        """
        self._waiting = []
        self._count, self._unweighed = (sum(part[name] for part in parts) for name in ("count", "unweighed"))
        self._total, self._weight = (sum(part[name] for part in parts) for name in ("total", "weight"))
        invalid = [part["invalid"] for part in parts if part["invalid"] is not None]
        self._invalid = torch.stack(invalid).any() if invalid else None
        if self._unweighed not in (0, self._count):
            raise DataError(MIXED)

    def _wait(self, value: float | torch.Tensor, weight: float | torch.Tensor) -> None:
        """Keep a value, or a weight, that is on an accelerator until it is added up."""
        if isinstance(weight, torch.Tensor):
            weight = weight.detach().reshape(())
            if not isinstance(value, torch.Tensor):
                value = torch.full_like(weight, value, dtype=wide(weight))
        elif not weight:
            return
        assert isinstance(value, torch.Tensor)
        waiting = self._waiting
        if waiting and (len(waiting) == BLOCK or waiting[-1][0].device != value.device):
            self._add_up()
        self._waiting.append((value.detach().reshape(()), weight))

    def _add_up(self) -> None:
        if not self._waiting:
            return
        values, weights = zip(*self._waiting, strict=True)
        block = torch.stack(values)
        block = block.to(wide(block))
        if not any(isinstance(weight, torch.Tensor) for weight in weights):
            if weights.count(weights[0]) == len(weights):  # as in most data, apart from a last batch
                weighed = torch.full_like(block, weights[0])
            else:
                weighed = torch.stack([torch.full_like(block[0], weight) for weight in weights])
            added = weighed_sum(block, weighed)
            self._weight = self._weight + sum(weights)
        else:
            weighed = torch.stack([torch.full_like(block[0], 1) * weight for weight in weights])
            added = weighed_sum(block, weighed)
            invalid = ((weighed < 0) | ~weighed.isfinite()).any()
            self._invalid = invalid if self._invalid is None else self._invalid | invalid
            self._weight = weighed.sum() + self._weight
        self._total = added + self._total
        self._waiting = []

    def state_dict(self) -> dict[str, Any]:
        return {
            "count": self._count,
            "unweighed": self._unweighed,
            "total": self._total,
            "weight": self._weight,
            "waiting": [list(pair) for pair in self._waiting],
            "invalid": self._invalid,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._count, self._unweighed = state["count"], state["unweighed"]
        self._total, self._weight, self._invalid = state["total"], state["weight"], state["invalid"]
        self._waiting = [(value, weight) for value, weight in state["waiting"]]


def is_share(value: float, whole: float, weight: float) -> bool:
    """Whether a value is a whole number divided by a weight, rounded as a double or as a float is."""
    share = whole / weight
    return share == value or (abs(share) < 1e38 and SINGLE.unpack(SINGLE.pack(share))[0] == value)


def weighed_sum(block: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The sum of values by their weights; those of weight 0 are left out."""
    added = block * weights
    whole = added.round()
    share = whole / weights
    added = torch.where((share == block) | (share.to(torch.float32) == block), whole, added)  # as in `is_share`
    return added.masked_fill(weights == 0, 0).sum()


def wide(values: torch.Tensor) -> torch.dtype:
    """The type in which values are added up."""
    return torch.float32 if values.device.type == "mps" else torch.float64  # which MPS does not have
