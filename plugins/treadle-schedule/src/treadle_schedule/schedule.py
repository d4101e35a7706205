"""`Schedule`: what all schedules share, how their arguments are checked, what else becomes one, and pictures."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_type_hints

from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from treadle import TreadleError
from treadle.authoring import whole_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Anything that gives a value for a step: a `Schedule`, or any callable from the step's number.
AnySchedule: TypeAlias = Callable[[int], Any]


class ScheduleError(TreadleError, ValueError):
    """An argument from which no schedule can be made."""


class ScheduleRangeError(TreadleError, IndexError):
    """A schedule was called with a step that it does not have."""


class PlotError(TreadleError, ImportError):
    """A picture cannot be drawn, since matplotlib is not installed."""


@dataclass(frozen=True)
class Must:
    """What a value must be: in words, to follow "pass", and as a test."""

    be: str
    test: Callable[[Any], bool]


def is_number(value: object) -> bool:
    """Whether it is a finite real number, and not a bool."""
    if type(value) is float:  # called in every step
        return math.isfinite(value)
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: object) -> bool:
    """Whether it is an integer, and not a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


AT_LEAST_0 = Must("a number of at least 0", lambda x: is_number(x) and x >= 0)

# What the arguments of a schedule are: their annotations, which `check` looks at.
Number = Annotated[float, Must("a finite number", is_number)]
NumberOrNone = Annotated[float | None, Must("a finite number", lambda x: x is None or is_number(x))]
Positive = Annotated[float, Must("a number greater than 0", lambda x: is_number(x) and x > 0)]
NotNegative = Annotated[float, AT_LEAST_0]
Fraction = Annotated[float, Must("a number from 0 to 1", lambda x: is_number(x) and 0 <= x <= 1)]
Count = Annotated[int, Must("a whole number of at least 1", lambda x: is_whole(x) and x >= 1)]
Flag = Annotated[bool, Must("True or False", lambda x: isinstance(x, bool))]
CountOrZero = Annotated[int, Must("a whole number of at least 0", lambda x: is_whole(x) and x >= 0)]


def check(owner: type | Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Check the fields of a dataclass, or the arguments of a function, by what its annotations say.

    Raises:
        ScheduleError: if a value has an invalid type or value.
    """
    for name, must in _requirements(owner).items():
        if not must.test(values[name]):
            raise ScheduleError(
                f"{owner.__name__}: `{name}` has an invalid value: {values[name]!r}.\nFix: pass {must.be}."
            )


@cache
def _requirements(owner: type | Callable[..., Any]) -> dict[str, Must]:
    annotations = get_type_hints(owner, include_extras=True)
    return {
        name: note
        for name, annotation in annotations.items()
        for note in getattr(annotation, "__metadata__", ())
        if isinstance(note, Must)
    }


class Schedule(ABC):
    """A callable from the number of a step, counted from 1, to a value.

    Any callable of that kind can be used where a schedule is expected. What this base class adds
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
    """

    @property
    def length(self) -> float:
        """The last step that has a value; infinity for a schedule that never ends."""
        return math.inf

    def __post_init__(self) -> None:
        check(type(self), vars(self))

    def __call__(self, t: int) -> Any:
        if not isinstance(t, Real):
            raise ScheduleError(
                f"{self} was called with step {t!r}, which is not a number.\nFix: pass the number of a step:\n"
                f"    schedule(1)"
            )
        if t < 1:
            raise ScheduleRangeError(
                f"{self} was called with step {t}, and steps are counted from 1.\nFix: start with step 1."
            )
        if t > self.length:
            raise ScheduleRangeError(
                f"{self} has {self.length:.15g} steps and was called with step {t}.\nFix: {longer(self.length)}"
            )
        return self.at(t)

    def __getstate__(self) -> dict[str, Any]:
        """The fields, and nothing that was computed from them: for copies and pickles."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    @abstractmethod
    def at(self, t: int) -> Any:
        """The value at step `t`, which is at least 1 and at most `length`."""


@dataclass(frozen=True)
class Constant(Schedule):
    """Always the same value. A number inside of another schedule becomes one.

    Example:
        >>> Constant(0.1)(1), Constant(0.1)(1000)
        (0.1, 0.1)
    """

    value: Number

    def at(self, t: int) -> float:
        return self.value


def longer(length: float) -> str:
    """How to go on where a schedule ends, for a message."""
    if length < 1:
        return "make it longer."
    return f"make it longer, or say what follows, here 0.001:\n    Sequence((schedule, {int(length)}), (0.001, 1))"


def length_of(schedule: AnySchedule) -> float:
    """The last step for which a schedule has a value; infinity if none is known.

    Example:
        >>> from treadle_schedule import OneCycle
        >>> length_of(OneCycle(10, 0.1)), length_of(lambda t: 0.1)
        (10, inf)
    """
    return schedule.length if isinstance(schedule, Schedule) else math.inf


def as_schedule(value: object, owner: str) -> AnySchedule:
    """The value as a schedule: a callable as it is, a number as `Constant`.

    Args:
        owner: Whose argument it is, for the message.

    Raises:
        ScheduleError: if it is neither, or one of torch's own schedulers, which `TorchSchedule` takes.
    """
    if is_number(value):
        return Constant(value)  # type: ignore[arg-type]
    cls = value if inspect.isclass(value) else type(value)
    if issubclass(cls, ReduceLROnPlateau):
        raise ScheduleError(
            f"{owner}: {cls.__name__} steps an optimizer of its own, by a metric.\n"
            f'Fix: add a callback to the learner in its place:\n    ReduceOnPlateau(monitor="Loss", patience=10)'
        )
    if issubclass(cls, LRScheduler):
        raise ScheduleError(
            f"{owner}: {cls.__name__} steps an optimizer of its own and gives no value for a step.\n"
            f"Fix: wrap its class:\n    TorchSchedule({cls.__name__}, start=0.1, ...)"
        )
    if cls is value and issubclass(cls, Schedule):
        required = [p.name for p in inspect.signature(cls).parameters.values() if p.default is p.empty]
        raise ScheduleError(
            f"{owner}: {cls.__name__} is a class.\nFix: make an instance:\n    {cls.__name__}({', '.join(required)})"
        )
    if callable(value):
        return value
    raise ScheduleError(
        f"{owner}: {value!r} is not a schedule.\nFix: pass a number or a callable from the step's number, counted "
        f"from 1, to a value:\n    Exp(start=0.1, decay=0.9)"
    )


def plot_schedule(schedule: AnySchedule | float, nsteps: int) -> Figure:
    """Draw the values of a schedule over its first steps.

    Args:
        schedule: Any schedule. One that gives a value for each parameter group is drawn as several lines.
        nsteps: How many steps to draw.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `nsteps` is not a whole number of at least 1.
        PlotError: if matplotlib is not installed.

    Example:
        >>> from treadle_schedule import Triangle
        >>> figure = plot_schedule(Triangle(l0=0.01, l1=0.1, period=20), nsteps=60)
        >>> figure.axes[0].get_xlabel()
        'Step'
    """
    schedule = as_schedule(schedule, "plot_schedule")
    steps = range(1, whole_number(nsteps, "nsteps", "plot_schedule(schedule, nsteps=100)", least=1) + 1)
    figure, axes = new_figure()
    axes.plot(steps, [schedule(t) for t in steps])
    axes.set(xlabel="Step", ylabel="Value", title=str(schedule) if isinstance(schedule, Schedule) else "")
    return figure


def new_figure() -> tuple[Figure, Axes]:
    """An empty picture with one pair of axes, unknown to any window and to pyplot's list of figures.

    Raises:
        PlotError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError(
            "Pictures need matplotlib, which is not installed.\n"
            "Fix: install it:\n    pip install 'treadle-schedule[plot]'"
        ) from error
    figure = Figure(layout="constrained")
    return figure, figure.subplots()
