"""The guards of arguments: each returns the value as it is used, or says what was wrong and what to write.

Every guard takes the value, the argument's `name` as a reader finds it (`freq`, or `LogHistograms(freq)`),
and an `example`, a line of code that works.
"""

from __future__ import annotations

import inspect
import io
import math
import os
from collections.abc import Callable, Iterable, Sequence
from operator import index
from pathlib import Path
from typing import Any, TypeVar

from treadle.arguments.shown import shown_value
from treadle.errors import ArgumentTypeError, ArgumentValueError

T = TypeVar("T")


def whole_number(value: Any, name: str, example: str, *, least: int | None = None) -> int:
    """The value as an int. NumPy's integers are whole numbers as well, bools are not.

    Args:
        least: The smallest valid value. Default: any.

    Raises:
        ArgumentTypeError: if it is not a whole number.
        ArgumentValueError: if it is below `least`.

    Example:
        >>> whole_number(3, "freq", "throttle(callback, StepEnd, freq=10)", least=1)
        3
        >>> whole_number(0, "freq", "throttle(callback, StepEnd, freq=10)", least=1)
        Traceback (most recent call last):
        ...
        treadle.errors.ArgumentValueError: freq must be a whole number of at least 1, got 0.
        Fix: write, for example:
            throttle(callback, StepEnd, freq=10)
    """
    expected = "a whole number" if least is None else f"a whole number of at least {least}"
    try:
        number = None if isinstance(value, bool) else index(value)
    except TypeError:
        number = None
    if number is None:
        raise ArgumentTypeError(_message(name, expected, value, example))
    if least is not None and number < least:
        raise ArgumentValueError(_message(name, expected, value, example))
    return number


def real_number(
    value: Any,
    name: str,
    example: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    finite: bool = False,
) -> float:
    """The value as a float. Whatever converts to a float is a number, bools and texts are not; NaN is never valid.

    Args:
        least: The smallest valid value. Default: any.
        above: A number that is smaller than all valid values. Default: none.
        most: The largest valid value. Default: any.
        below: A number that is larger than all valid values. Default: none.
        finite: Whether infinity is refused.

    Raises:
        ArgumentTypeError: if it is not a number.
        ArgumentValueError: if it is NaN or out of range.

    Example:
        >>> real_number(1, "beta", "SmoothLoss(beta=0.98)", least=0, most=1)
        1.0
        >>> real_number(1, "beta", "SmoothLoss(beta=0.98)", least=0, below=1)
        Traceback (most recent call last):
        ...
        treadle.errors.ArgumentValueError: beta must be a number of at least 0 and below 1, got 1.
        Fix: write, for example:
            SmoothLoss(beta=0.98)
    """
    bounds = {"of at least": least, "above": above, "of at most": most, "below": below}
    limits = " and ".join(f"{words} {bound}" for words, bound in bounds.items() if bound is not None)
    expected = f"a {'finite ' if finite else ''}number{limits and ' '}{limits}"
    try:
        number = float(value) if hasattr(value, "__float__") and not isinstance(value, bool) else None
    except (TypeError, ValueError, RuntimeError):  # torch raises the last, for several elements
        number = None
    if number is None:
        raise ArgumentTypeError(_message(name, expected, value, example))
    if (
        math.isnan(number)
        or (finite and math.isinf(number))
        or (least is not None and number < least)
        or (above is not None and number <= above)
        or (most is not None and number > most)
        or (below is not None and number >= below)
    ):
        raise ArgumentValueError(_message(name, expected, value, example))
    return number


def one_of(value: T, name: str, options: Sequence[T]) -> T:
    """The value, which is one of the options.

    Raises:
        ArgumentValueError: if it is none of them.

    Example:
        >>> one_of("min", "mode", ["min", "max"])
        'min'
        >>> one_of("least", "mode", ["min", "max"])
        Traceback (most recent call last):
        ...
        treadle.errors.ArgumentValueError: mode has an invalid value: 'least'.
        Fix: pass 'min' or 'max'.
    """
    if value in options:
        return value
    *others, last = map(repr, options)
    listed = f"{', '.join(others)} or {last}" if others else last
    raise ArgumentValueError(f"{name} has an invalid value: {shown_value(value)}.\nFix: pass {listed}.")


def instance_of(value: Any, name: str, cls: type[T], example: str) -> T:
    """The value, which is an instance of the class.

    Raises:
        ArgumentTypeError: if it is not, for example the class itself.

    Example:
        >>> from treadle import Phase, TrainingPhase
        >>> instance_of(TrainingPhase(), "phase", Phase, "TrainingPhase()")
        TrainingPhase()
        >>> instance_of(TrainingPhase, "phase", Phase, "TrainingPhase()")
        Traceback (most recent call last):
        ...
        treadle.errors.ArgumentTypeError: phase must be an instance of Phase, got the class TrainingPhase.
        Fix: make an instance:
            TrainingPhase()
    """
    if isinstance(value, cls):
        return value
    if isinstance(value, type) and issubclass(value, cls):
        raise ArgumentTypeError(
            f"{name} must be an instance of {cls.__name__}, got the class {value.__name__}.\n"
            f"Fix: make an instance:\n    {value.__name__}()"
        )
    raise ArgumentTypeError(_message(name, f"an instance of {cls.__name__}", value, example))


def subclass_of(value: Any, name: str, cls: type[T], example: str) -> type[T]:
    """The value, which is the class or a subclass of it.

    Raises:
        ArgumentTypeError: if it is not, for example an instance.

    Example:
        >>> from treadle import Event, StepEnd
        >>> subclass_of(StepEnd, "event", Event, "CustomCallback(f, StepEnd)").__name__
        'StepEnd'
    """
    if isinstance(value, type) and issubclass(value, cls):
        return value
    raise ArgumentTypeError(_message(name, f"{cls.__name__} or a subclass of it", value, example))


def list_of(values: Any, name: str, cls: type[T], example: str) -> tuple[T, ...]:
    """The values as a tuple; all of them are instances of the class.

    Raises:
        ArgumentTypeError: if they are not, or are a text or one thing alone.

    Example:
        >>> list_of(["recorder"], "without", str, "without=['recorder']")
        ('recorder',)
        >>> list_of("recorder", "without", str, "without=['recorder']")
        Traceback (most recent call last):
        ...
        treadle.errors.ArgumentTypeError: without must be a list, got 'recorder'.
        Fix: write, for example:
            without=['recorder']
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ArgumentTypeError(_message(name, "a list", values, example))
    found = tuple(values)
    for i, value in enumerate(found):
        instance_of(value, f"{name}[{i}]", cls, example)
    return found


def function(value: Any, name: str, example: str, *, takes: Sequence[str] | None = None) -> Callable[..., Any]:
    """The value, which can be called.

    Args:
        takes: The names of the arguments that it is called with, by position. Default: they are not checked.

    Raises:
        ArgumentTypeError: if it cannot be called, or not with these arguments.

    Example:
        >>> function(len, "fn", "Metric(fn)")("abc")
        3
        >>> function(lambda: 0, "f", "CustomCallback(print, StepEnd)", takes=["learner"])
        Traceback (most recent call last):
        ...
        treadle.errors.ArgumentTypeError: f is called with (learner), and <lambda> takes ().
        Fix: write, for example:
            CustomCallback(print, StepEnd)
    """
    if not callable(value):
        raise ArgumentTypeError(_message(name, "a function", value, example))
    if takes is not None and (signature := misfit(value, len(takes))):
        shown = getattr(value, "__name__", type(value).__name__)
        raise ArgumentTypeError(
            f"{name} is called with ({', '.join(takes)}), and {shown} takes {signature}.\n"
            f"Fix: write, for example:\n    {example}"
        )
    return value  # type: ignore[no-any-return]


def misfit(value: Callable[..., Any], count: int) -> str:
    """The signature of a function that cannot be called with as many arguments; empty if it can.

    Example:
        >>> misfit(lambda learner: 0, 2), misfit(lambda *learners: 0, 2)
        ('(learner)', '')
    """
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # some that are written in C show none
        return ""
    try:
        signature.bind(*range(count))
    except TypeError:
        return str(signature)
    return ""


def file_path(value: Any, name: str, example: str) -> Path:
    """The value as the path of a file or a folder.

    Raises:
        ArgumentTypeError: if it is neither a text nor a path.

    Example:
        >>> file_path("runs/digits", "folder", "Checkpointer('runs/digits')").name
        'digits'
    """
    if not isinstance(value, str | os.PathLike):
        raise ArgumentTypeError(_message(name, "a path", value, example))
    return Path(value)


def writable(value: Any, name: str, example: str) -> Any:
    """The value, which is a file that text can be written to.

    Raises:
        ArgumentTypeError: if it has no method `write`, or one that takes bytes.
        ArgumentValueError: if it is closed.

    Example:
        >>> import io
        >>> writable(io.StringIO(), "file", "ProgressPrinter(file=sys.stdout)").write("text")
        4
    """
    if not callable(getattr(value, "write", None)):
        raise ArgumentTypeError(_message(name, "a file to write to", value, example))
    if isinstance(value, io.RawIOBase | io.BufferedIOBase):
        raise ArgumentTypeError(_message(name, "a file that takes text, not bytes", value, example))
    if getattr(value, "closed", False) is True:
        raise ArgumentValueError(_message(name, "an open file", value, example))
    return value


def not_a_learner(value: object, example: str = "epoch(learner, TrainingPhase())") -> ArgumentTypeError:
    """The error for what was passed in place of a learner, where the learner's class cannot be imported."""
    return ArgumentTypeError(_message("The learner", "an instance of Learner", value, example))


def _message(name: str, expected: str, value: Any, example: str) -> str:
    return f"{name} must be {expected}, got {shown_value(value)}.\nFix: write, for example:\n    {example}"
