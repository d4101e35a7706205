"""`Schedule`: what all schedules here share; and how anything else becomes one."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from torch.optim.lr_scheduler import LRScheduler

from treadle_schedule.errors import ScheduleError, ScheduleRangeError
from treadle_schedule.fields import Number, check, is_number

#: Anything that gives a value for a step: a `Schedule`, or any callable from the step's number.
AnySchedule: TypeAlias = Callable[[int], Any]


class Schedule(ABC):
    """A callable from the number of a step, counted from 1, to a value.

    Any callable of that kind can be used where a schedule is asked for. What this base class adds
    is that fields are checked when the schedule is made, and steps when it is called. Subclasses
    are frozen dataclasses, equal if their fields are, and implement `at`.

    Raises:
        ScheduleError: if a field is not what its annotation says.
        ScheduleRangeError: if it is called with a step before 1 or past its end.

    Example:
        >>> @dataclass(frozen=True)
        ... class Linear(Schedule):
        ...     start: Number
        ...     slope: Number
        ...     def at(self, t):
        ...         return self.start + self.slope * (t - 1)
        >>> Linear(1.0, 0.5)(3), Linear(1.0, 0.5) == Linear(1.0, 0.5)
        (2.0, True)

    Source: ParameterSchedulers.jl, `AbstractSchedule`.
    """

    @property
    def length(self) -> float:
        """The last step that has a value; infinity for a schedule that never ends."""
        return math.inf

    def __post_init__(self) -> None:
        check(type(self), vars(self))

    def __call__(self, t: int) -> Any:
        if not 1 <= t <= self.length:
            raise ScheduleRangeError(_out_of_range(self, t))
        return self.at(t)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle is made of: the fields, and nothing that was worked out from them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    @abstractmethod
    def at(self, t: int) -> Any:
        """The value at step `t`, which is at least 1 and at most `length`."""


@dataclass(frozen=True)
class Constant(Schedule):
    """Always the same value. A number inside of another schedule becomes one.

    Args:
        value: The value.

    Example:
        >>> Constant(0.1)(1), Constant(0.1)(1000)
        (0.1, 0.1)

    Source: ParameterSchedulers.jl, `Constant`.
    """

    value: Number

    def at(self, t: int) -> float:
        return self.value


def as_schedule(given: object, owner: str) -> AnySchedule:
    """What was given as a schedule: a callable as it is, a number as `Constant`.

    Args:
        given: A schedule, any callable from the number of a step, or a number.
        owner: Who asks for it, for the message.

    Raises:
        ScheduleError: if it is neither, or one of torch's own schedulers, which `TorchSchedule` takes.
    """
    if is_number(given):
        return Constant(given)  # type: ignore[arg-type]  # is_number has just looked
    cls = given if inspect.isclass(given) else type(given)
    if issubclass(cls, LRScheduler):
        raise ScheduleError(
            f"{owner}: {cls.__name__} steps an optimizer of its own and gives no value for a step. "
            f"Wrap its class: TorchSchedule({cls.__name__}, start=0.1, ...)"
        )
    if inspect.isclass(given) and issubclass(given, Schedule):
        raise ScheduleError(f"{owner}: {cls.__name__} is a class. Make one: {_call(given)}")
    if callable(given):
        return given
    raise ScheduleError(
        f"{owner}: {given!r} is no schedule. A schedule is a number or a callable from the step's number, "
        f"counted from 1, to a value: Exp(start=0.1, decay=0.9), or lambda t: 0.1 / t"
    )


def _call(cls: type) -> str:
    """How to call a class with the arguments that it must have."""
    needed = [p.name for p in inspect.signature(cls).parameters.values() if p.default is p.empty]
    return f"{cls.__name__}({', '.join(needed)})"


def _out_of_range(schedule: Schedule, t: int) -> str:
    if t < 1:
        return f"{schedule} was asked for step {t}. Steps are counted from 1: schedule(1) is its first value."
    return (
        f"{schedule} has {schedule.length} steps and was asked for step {t}. Make it longer, or say what "
        f"follows: Sequence((schedule, {schedule.length}), (0.001, 1)) stays at 0.001."
    )
