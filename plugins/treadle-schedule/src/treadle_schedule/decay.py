"""Schedules that fall from a start: `Step`, `Exp`, `Poly`, `Inv`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated

from treadle_schedule.schedule import Count, Must, NotNegative, Number, Schedule, is_whole


def _are_sizes(value: object) -> bool:
    sizes = value if isinstance(value, tuple) else (value,)
    return bool(sizes) and all(is_whole(size) and size >= 1 for size in sizes)


Sizes = Annotated[int | tuple[int, ...], Must("a whole number of at least 1, or a sequence of them", _are_sizes)]


@dataclass(frozen=True)
class Step(Schedule):
    """Multiply by `decay` after each step of the staircase: `start * decay**i` on the stair `i`.

    Args:
        start: The value on the first stair.
        decay: The ratio from one stair to the next.
        step_sizes: How many steps each stair lasts: a number, for ever again; or a sequence of
            numbers, after which the value stays at `start * decay**len(step_sizes)`.

    Example:
        >>> s = Step(start=1.0, decay=0.5, step_sizes=[2, 3])
        >>> [s(t) for t in range(1, 8)]
        [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]
    """

    start: Number
    decay: NotNegative
    step_sizes: Sizes

    def __post_init__(self) -> None:
        if isinstance(self.step_sizes, Iterable) and not isinstance(self.step_sizes, str):
            object.__setattr__(self, "step_sizes", tuple(self.step_sizes))
        super().__post_init__()

    def at(self, t: int) -> float:
        if isinstance(self.step_sizes, tuple):
            stairs = sum(t > end for end in accumulate(self.step_sizes))
        else:
            stairs = (t - 1) // self.step_sizes
        return self.start * self.decay**stairs


@dataclass(frozen=True)
class Exp(Schedule):
    """Multiply by `decay` at every step: `start * decay**(t - 1)`.

    Example:
        >>> [Exp(start=1.0, decay=0.5)(t) for t in (1, 2, 3)]
        [1.0, 0.5, 0.25]
    """

    start: Number
    decay: NotNegative

    def at(self, t: int) -> float:
        return self.start * self.decay ** (t - 1)


@dataclass(frozen=True)
class Poly(Schedule):
    """Fall to zero along a power: `start * (1 - (t - 1) / max_iter)**degree`, for `max_iter` steps.

    Raises:
        ScheduleRangeError: if it is called with a step past `max_iter`.

    Example:
        >>> [Poly(start=1.0, degree=2, max_iter=4)(t) for t in (1, 2, 3, 4)]
        [1.0, 0.5625, 0.25, 0.0625]
    """

    start: Number
    degree: Number
    max_iter: Count

    @property
    def length(self) -> int:
        return self.max_iter

    def at(self, t: int) -> float:
        return float(self.start * (1 - (t - 1) / self.max_iter) ** self.degree)


@dataclass(frozen=True)
class Inv(Schedule):
    """Fall as the inverse of a growing number: `start / (1 + (t - 1) * decay)**degree`.

    Example:
        >>> [Inv(start=1.0, decay=1.0, degree=2)(t) for t in (1, 2, 4)]
        [1.0, 0.25, 0.0625]
    """

    start: Number
    decay: NotNegative
    degree: Number

    def at(self, t: int) -> float:
        return float(self.start / (1 + (t - 1) * self.decay) ** self.degree)
