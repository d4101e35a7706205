"""Criteria that do not look at the losses' values: `TimeLimit` and `NumberLimit`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from treadle.authoring import function, real_number, whole_number
from treadle.errors import ArgumentValueError

from treadle_stopping.criterion import Criterion

MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, init=False)
class TimeLimit(Criterion):
    """Stop when more time than `t` has passed.

    The clock starts at the first loss of either kind, or at `EarlyStopper.start` (with the callback
    `EarlyStopping`, when the fit begins). A checkpoint keeps
    the time used up; the time until training is resumed does not count.

    Args:
        t: A `timedelta`, or a number of hours; rounded to milliseconds. Default: half an hour.
        clock: Where the time in seconds is read. Default: `time.monotonic`.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `t` is not a positive time that a `timedelta` can hold.

    Example:
        >>> TimeLimit(0.5) == TimeLimit(timedelta(minutes=30))
        True
    """

    t: timedelta
    clock: Callable[[], float] = field(compare=False, repr=False)

    def __init__(
        self, t: float | timedelta = timedelta(minutes=30), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        object.__setattr__(self, "t", _limit(t))
        object.__setattr__(self, "clock", function(clock, "TimeLimit(clock)", "TimeLimit(0.5, clock=time.monotonic)"))

    def start(self) -> dict[str, float]:
        return {"elapsed": 0.0, "since": self.clock()}

    def without_losses(self, state: dict[str, float]) -> dict[str, float]:
        return state

    def elapsed(self, state: dict[str, float]) -> float:
        """The time used up, in seconds."""
        return state["elapsed"] + self.clock() - state["since"]

    def done(self, state: dict[str, float]) -> bool:
        return self.elapsed(state) > self.t.total_seconds()

    def reason(self, state: dict[str, float]) -> str:
        return f"more than {self.t} hours have passed"

    def save_state(self, state: dict[str, float]) -> dict[str, float]:
        return {"elapsed": self.elapsed(state)}

    def load_state(self, saved: dict[str, float]) -> dict[str, float]:
        return {"elapsed": saved["elapsed"], "since": self.clock()}


def _limit(t: Any) -> timedelta:
    """The limit as a positive number of milliseconds."""
    name, example = "TimeLimit(t), in hours or as a timedelta,", "TimeLimit(timedelta(minutes=30))"
    try:
        exact = t if isinstance(t, timedelta) else timedelta(hours=real_number(t, name, example, above=0))
    except OverflowError:
        raise ArgumentValueError(
            f"TimeLimit(t) is too long: {t!r} hours.\nFix: for no limit, leave the criterion out:\n    Never()"
        ) from None
    limit = round(exact / MILLISECOND) * MILLISECOND
    if limit <= timedelta(0):
        raise ArgumentValueError(
            f"TimeLimit(t) must be at least a millisecond, got {t!r}.\nFix: write, for example:\n    {example}"
        )
    return limit


@dataclass(frozen=True)
class NumberLimit(Criterion):
    """Stop at the `n`-th out-of-sample loss.

    Args:
        n: The number of losses, at least 1. Default: 100.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `n` is not a whole number of at least 1.

    Example:
        >>> from treadle_stopping import stopping_time
        >>> stopping_time(NumberLimit(3), [5.0, 4.0, 3.0, 2.0])
        3
    """

    n: int = 100

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", whole_number(self.n, "NumberLimit(n)", "NumberLimit(100)", least=1))

    def update(self, state: int | None, loss: float) -> int:
        return (state or 0) + 1

    def done(self, state: int) -> bool:
        return state == self.n

    def reason(self, state: int) -> str:
        return f"{state} losses have been seen"
