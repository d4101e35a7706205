"""One cycle over the whole training: `OneCycle` in half cosines, `onecycle` in quarter sines."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

from treadle_schedule.compose import Sequence
from treadle_schedule.fields import Count, Fraction, Number, NumberOrNone, Positive, check
from treadle_schedule.ramp import Curve, Ramp, cosine, sine_in, sine_out
from treadle_schedule.schedule import Schedule


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

    Source: ParameterSchedulers.jl, `OneCycle`; Smith and Topin, "Super-Convergence: Very Fast
        Training of Neural Networks Using Large Learning Rates" (2017).
    """

    nsteps: Count
    max_val: Number
    _: KW_ONLY
    start_val: NumberOrNone = None
    end_val: NumberOrNone = None
    pct_start: Fraction = 0.25

    @property
    def length(self) -> int:
        """The last step that has a value."""
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
        nsteps: The number of steps.
        max_val: The highest value, taken at the first step of the way down.
        start_val: The value at step 1. Default: `max_val / div`.
        end_val: Where the way down leads, reached one step after the last. Default: `max_val / divfinal`.
        pct_start: The part of the steps on the way up. Default: a quarter.
        div: What the default of `start_val` divides by.
        divfinal: What the default of `end_val` divides by.

    Raises:
        ScheduleError: if an argument makes no schedule.

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
