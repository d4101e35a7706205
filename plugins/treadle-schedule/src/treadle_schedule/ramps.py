"""`Ramp`: from one value to another along a curve; and the cycles of two ramps, `OneCycle` and `onecycle`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Annotated

from treadle_schedule.compose import Sequence
from treadle_schedule.schedule import (
    Count,
    CountOrZero,
    Fraction,
    Must,
    Number,
    NumberOrNone,
    Positive,
    Schedule,
    check,
)

Curve = Annotated[Callable[[float], float], Must("a callable from [0, 1] to [0, 1], such as `cosine`", callable)]


def linear(x: float) -> float:
    """A straight line.

    Example:
        >>> [linear(x) for x in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    return x


def cosine(x: float) -> float:
    """Half a cosine: level at both ends.

    Example:
        >>> [round(cosine(x), 3) for x in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [0.0, 0.146, 0.5, 0.854, 1.0]
    """
    return (1 - math.cos(math.pi * x)) / 2


def sine_in(x: float) -> float:
    """The first quarter of a sine: steep at the start, level at the end.

    Example:
        >>> [round(sine_in(x), 3) for x in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [0.0, 0.383, 0.707, 0.924, 1.0]
    """
    return math.sin(math.pi / 2 * x)


def sine_out(x: float) -> float:
    """The first quarter of a sine, turned around: level at the start, steep at the end.

    Example:
        >>> [round(sine_out(x), 3) for x in (0.0, 0.25, 0.5, 0.75, 1.0)]
        [0.0, 0.076, 0.293, 0.617, 1.0]
    """
    return 1 - math.cos(math.pi / 2 * x)


@dataclass(frozen=True)
class Ramp(Schedule):
    """From `start` at step 1 to `end` at step `nsteps + 1`, and `end` from there on.

    As a piece of a `Sequence` it goes as far as one step before `end`, with which the next piece
    can start: a warm-up.

    Args:
        start: The value at step 1.
        end: The value after `nsteps` steps.
        nsteps: The number of steps in between; 0 for `end` at once.
        curve: How to get there, a callable from [0, 1] to [0, 1]. Default: a straight line.

    Example:
        >>> s = Ramp(0.0, 1.0, nsteps=4)
        >>> [s(t) for t in range(1, 8)]
        [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    start: Number
    end: Number
    nsteps: CountOrZero
    curve: Curve = linear

    def at(self, t: int) -> float:
        if t > self.nsteps:
            return self.end
        return self.start + (self.end - self.start) * self.curve((t - 1) / self.nsteps)

    def __repr__(self) -> str:
        curve = getattr(self.curve, "__name__", repr(self.curve))
        return f"Ramp({self.start}, {self.end}, nsteps={self.nsteps}, curve={curve})"


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up along half a cosine and down along another, in `nsteps` steps.

    Args:
        nsteps: The number of steps; there is no value after them.
        max_val: The highest value, taken at the first step of the way down.
        start_val: The value at step 1. Default: `max_val / 25`.
        end_val: Where the way down leads, one step after the last. Default: `max_val / 1e5`.
        pct_start: The part of the steps on the way up. Default: a quarter.

    Raises:
        ScheduleRangeError: if it is called with a step past `nsteps`.

    Example:
        >>> s = OneCycle(8, 1.0, start_val=0.0, end_val=0.0, pct_start=0.5)
        >>> [round(s(t), 4) for t in range(1, 9)]
        [0.0, 0.1464, 0.5, 0.8536, 1.0, 0.8536, 0.5, 0.1464]

    Source: Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large
        Learning Rates" (2017).
    """

    nsteps: Count
    max_val: Number
    _: KW_ONLY
    start_val: NumberOrNone = None
    end_val: NumberOrNone = None
    pct_start: Fraction = 0.25

    @property
    def length(self) -> int:
        return self.nsteps

    def at(self, t: int) -> float:
        return float(self._course(t))

    @cached_property
    def _course(self) -> Schedule:
        start = self.max_val / 25 if self.start_val is None else self.start_val
        end = self.max_val / 1e5 if self.end_val is None else self.end_val
        return _up_and_down(self.nsteps, self.pct_start, (start, self.max_val, end), (cosine, cosine))


def onecycle(
    nsteps: Count,
    max_val: Number,
    *,
    start_val: NumberOrNone = None,
    end_val: NumberOrNone = None,
    pct_start: Fraction = 0.25,
    div: Positive = 25,
    divfinal: Positive = 1e5,
) -> Schedule:
    """Up along a quarter of a sine and down along another, in `nsteps` steps; `end_val` after them.

    Args:
        nsteps, max_val, pct_start: As in `OneCycle`.
        start_val: The value at step 1. Default: `max_val / div`.
        end_val: Where the way down leads, reached one step after the last. Default: `max_val / divfinal`.
        div, divfinal: What the defaults divide by.

    Raises:
        ScheduleError: if an argument has an invalid value.

    Example:
        >>> s = onecycle(8, 1.0, start_val=0.0, end_val=0.0, pct_start=0.5)
        >>> [round(s(t), 4) for t in range(1, 12)]
        [0.0, 0.3827, 0.7071, 0.9239, 1.0, 0.9239, 0.7071, 0.3827, 0.0, 0.0, 0.0]
    """
    check(onecycle, locals())
    start = max_val / div if start_val is None else start_val
    end = max_val / divfinal if end_val is None else end_val
    return _up_and_down(nsteps, pct_start, (start, max_val, end), (sine_in, sine_out))


def _up_and_down(
    nsteps: int, pct_start: float, values: tuple[float, float, float], curves: tuple[Curve, Curve]
) -> Schedule:
    start, peak, end = values
    up, down = curves
    nup = math.ceil(nsteps * pct_start)
    ndown = nsteps - nup
    return Sequence((Ramp(start, peak, nup, up), nup), (Ramp(peak, end, ndown, down), ndown))
