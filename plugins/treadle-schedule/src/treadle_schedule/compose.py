"""Schedules made of others: `Sequence`, `Loop`, `Shifted`, `Shortened`, `Interpolator`."""

from __future__ import annotations

import math
from abc import abstractmethod
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeAlias

from treadle_schedule.schedule import (
    AnySchedule,
    Count,
    Positive,
    Schedule,
    ScheduleError,
    as_schedule,
    is_whole,
    length_of,
)

Piece: TypeAlias = tuple[AnySchedule | float, int]


@dataclass(frozen=True)
class Derived(Schedule):
    """Another schedule, or a number for `Constant`, at other steps: its value at `clock(t)`."""

    schedule: AnySchedule | float

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedule", as_schedule(self.schedule, type(self).__name__))
        super().__post_init__()

    def at(self, t: int) -> Any:
        return self.schedule(self.clock(t))  # type: ignore[operator]  # no number after __post_init__

    @property
    def inner_length(self) -> float:
        """The length of the other schedule."""
        return length_of(self.schedule)  # type: ignore[arg-type]

    @abstractmethod
    def clock(self, t: int) -> int:
        """The step at which the other schedule is asked for its value."""


@dataclass(frozen=True)
class Loop(Derived):
    """The first `period` steps of a schedule, over and over.

    Example:
        >>> s = Loop(lambda t: t, period=3)
        >>> [s(t) for t in range(1, 8)]
        [1, 2, 3, 1, 2, 3, 1]
    """

    period: Count

    @property
    def length(self) -> float:
        return math.inf if self.period <= self.inner_length else self.inner_length

    def clock(self, t: int) -> int:
        return (t - 1) % self.period + 1


@dataclass(frozen=True)
class Shifted(Derived):
    """A schedule that starts at its step `k`.

    Example:
        >>> s = Shifted(lambda t: t, k=5)
        >>> [s(t) for t in (1, 2, 3)]
        [5, 6, 7]
    """

    k: Count

    @property
    def length(self) -> float:
        return max(self.inner_length - self.k + 1, 0)

    def clock(self, t: int) -> int:
        return t - 1 + self.k


@dataclass(frozen=True)
class Shortened(Derived):
    """A schedule that ends after `n` steps.

    Raises:
        ScheduleRangeError: if it is called with a step past `n`.

    Example:
        >>> Shortened(lambda t: t, n=3)(3)
        3
        >>> Shortened(0.1, n=3)(4)
        Traceback (most recent call last):
        ...
        treadle_schedule.schedule.ScheduleRangeError: Shortened(schedule=Constant(...), n=3) has 3 steps ...
    """

    n: Count

    @property
    def length(self) -> float:
        return min(self.n, self.inner_length)

    def clock(self, t: int) -> int:
        return t


@dataclass(frozen=True)
class Interpolator(Derived):
    """A schedule whose every step lasts `rate` steps, such as one made for epochs that is driven by steps.

    Example:
        >>> s = Interpolator(lambda epoch: epoch, rate=3)
        >>> [s(t) for t in range(1, 8)]
        [1, 1, 1, 2, 2, 2, 3]
    """

    rate: Positive

    @property
    def length(self) -> float:
        if math.isinf(self.inner_length):
            return math.inf
        last = math.floor(self.inner_length * self.rate) + 1
        while self.clock(last) > self.inner_length:  # once or twice, as the division is rounded
            last -= 1
        return last

    def clock(self, t: int) -> int:
        return math.ceil(t / self.rate)


@dataclass(frozen=True, init=False, repr=False)
class Sequence(Schedule):
    """One schedule after the other, each from its step 1 on; the last one goes on for ever.

    Args:
        *pieces: Pairs of a schedule, or a number for `Constant`, and the number of steps it lasts.

    Raises:
        ScheduleError: if there is no piece, or one is not such a pair.

    Example:
        >>> s = Sequence((0.1, 2), (lambda t: float(t), 3))
        >>> [s(t) for t in range(1, 8)]
        [0.1, 0.1, 1.0, 2.0, 3.0, 4.0, 5.0]
    """

    pieces: tuple[tuple[AnySchedule, int], ...]

    def __init__(self, *pieces: Piece) -> None:
        if not pieces:
            raise ScheduleError(f"Sequence has no pieces.{_PIECES}")
        object.__setattr__(self, "pieces", tuple(map(_checked, pieces)))

    @property
    def length(self) -> float:
        *pieces, (last, _) = zip(self.pieces, self._starts, strict=True)
        ends = [start + length_of(schedule) for (schedule, n), start in pieces if length_of(schedule) < n]
        return min(ends, default=self._starts[-1] + length_of(last[0]))

    def at(self, t: int) -> Any:
        i = bisect_left(self._starts, t) - 1
        schedule, _ = self.pieces[i]
        return schedule(t - self._starts[i])

    @cached_property
    def _starts(self) -> list[int]:
        """How many steps come before each piece."""
        return list(accumulate((n for _, n in self.pieces[:-1]), initial=0))

    def __repr__(self) -> str:
        return f"Sequence({', '.join(map(repr, self.pieces))})"


_PIECES = "\nFix: pass pairs of a schedule and a number of steps:\n    Sequence((Exp(0.1, 0.9), 100), (0.001, 50))"


def _checked(piece: Piece) -> tuple[AnySchedule, int]:
    match piece:
        case (schedule, n) if is_whole(n) and n >= 0:
            return as_schedule(schedule, "Sequence"), n
    raise ScheduleError(f"Sequence: {piece!r} is not a piece.{_PIECES}")
