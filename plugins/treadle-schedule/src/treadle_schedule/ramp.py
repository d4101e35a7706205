"""`Ramp`: from one value to another; and the curves along which it can go."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from treadle_schedule.fields import CountOrZero, Must, Number
from treadle_schedule.schedule import Schedule

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
