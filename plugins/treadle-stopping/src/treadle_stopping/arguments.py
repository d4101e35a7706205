"""Checks of the criteria's arguments, with one wording for all of them."""

from __future__ import annotations

import math
import operator
from typing import Any

from treadle.errors import ArgumentTypeError, ArgumentValueError


def whole(value: Any, where: str, *, least: int = 1) -> int:
    """The value as an int of at least `least`.

    Args:
        value: What was given.
        where: The parameter as the user wrote it, for the message: `Patience(n)`.
        least: The smallest possible value.

    Raises:
        ArgumentTypeError: if it is no whole number.
        ArgumentValueError: if it is too small.

    Example:
        >>> whole(3, "Patience(n)")
        3
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise ArgumentTypeError(f"{where} needs a whole number, got {value!r}.")
    if number < least:
        raise ArgumentValueError(f"{where} must be at least {least}, got {number}.")
    return number


def real(value: Any, where: str) -> float:
    """The value as a float that is not NaN.

    Raises:
        ArgumentTypeError: if it is no number.
        ArgumentValueError: if it is NaN.

    Example:
        >>> real(1, "Threshold(value)")
        1.0
    """
    try:
        number = None if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise ArgumentTypeError(f"{where} needs a number, got {value!r}.")
    if math.isnan(number):
        raise ArgumentValueError(f"{where} cannot be NaN.")
    return number


def positive(value: Any, where: str) -> float:
    """The value as a float above zero.

    Raises:
        ArgumentTypeError: if it is no number.
        ArgumentValueError: if it is NaN, zero or less.

    Example:
        >>> positive(2, "GL(alpha)")
        2.0
    """
    number = real(value, where)
    if number <= 0:
        raise ArgumentValueError(f"{where} must be greater than 0, got {value!r}.")
    return number
