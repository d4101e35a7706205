"""What the arguments of a schedule must be, written beside each as its type."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, get_type_hints

from treadle_schedule.errors import ScheduleError


@dataclass(frozen=True)
class Must:
    """What a value must be.

    Args:
        be: In words, to follow "must be".
        test: Whether a value is that.
    """

    be: str
    test: Callable[[Any], bool]


def is_number(value: object) -> bool:
    """Whether it is a finite real number, and no bool."""
    if type(value) is float:  # asked in every step
        return math.isfinite(value)
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: object) -> bool:
    """Whether it is an integer, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


AT_LEAST_0 = Must("a number of at least 0", lambda x: is_number(x) and x >= 0)

Number = Annotated[float, Must("a finite number", is_number)]
NumberOrNone = Annotated[float | None, Must("a finite number", lambda x: x is None or is_number(x))]
Positive = Annotated[float, Must("a number greater than 0", lambda x: is_number(x) and x > 0)]
NotNegative = Annotated[float, AT_LEAST_0]
Fraction = Annotated[float, Must("a number from 0 to 1", lambda x: is_number(x) and 0 <= x <= 1)]
Count = Annotated[int, Must("a whole number of at least 1", lambda x: is_whole(x) and x >= 1)]
CountOrZero = Annotated[int, Must("a whole number of at least 0", lambda x: is_whole(x) and x >= 0)]


def check(owner: type | Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Hold values to what the annotations of a dataclass or a function say.

    Args:
        owner: The dataclass or the function.
        values: Its fields or its arguments, by name.

    Raises:
        ScheduleError: if a value does not pass the test beside its type.
    """
    for name, must in _rules(owner).items():
        if not must.test(values[name]):
            raise ScheduleError(f"{owner.__name__}: `{name}` must be {must.be}, not {values[name]!r}.")


@cache
def _rules(owner: type | Callable[..., Any]) -> dict[str, Must]:
    hints = get_type_hints(owner, include_extras=True)
    return {
        name: note
        for name, hint in hints.items()
        for note in getattr(hint, "__metadata__", ())
        if isinstance(note, Must)
    }
