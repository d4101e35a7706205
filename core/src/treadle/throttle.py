"""Callbacks that run only now and then: another callback, inside of a condition."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from treadle.arguments import function, instance_of, real_number, shown_arguments, subclass_of, whole_number
from treadle.callback import Callback, ConflictResolution, Measure, RunFirst, handling
from treadle.errors import ArgumentTypeError, CallbackError
from treadle.events import PROJECT, Event, Hook, Init
from treadle.operations import known_operations
from treadle.phases import Phase

EXAMPLE = "throttle(callback, StepEnd, freq=10)"

if TYPE_CHECKING:
    from treadle.loop.data.processes import Part


class CallbackCondition:
    """When the callback inside of a `ConditionalCallback` runs.

    Attributes:
        event: The event that it is about, which the callback has to handle; None if it is about several.

    Example:
        >>> from treadle import ConditionalCallback, CustomCallback, EpochEnd, ValidationPhase, toy_learner
        >>> class OnlyInValidation(CallbackCondition):
        ...     "Let through what happens in validation."
        ...     def should_run(self, event, phase):
        ...         return isinstance(phase, ValidationPhase)
        >>> hello = CustomCallback(lambda learner: print("An epoch ended."), EpochEnd)
        >>> result = toy_learner(ConditionalCallback(hello, OnlyInValidation())).fit(1)
        An epoch ended.
    """

    event: type[Event] | None = None

    def should_run(self, event: type[Hook], phase: Phase | None) -> bool:
        """Whether a dispatch of an event goes through; `phase` is None for an event outside of all phases."""
        raise NotImplementedError(
            f"{type(self).__name__} has no method `should_run`.\n"
            f"Fix: define when to run:\n    def should_run(self, event, phase): return True"
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this condition. Default: nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""

    def __repr__(self) -> str:
        return type(self).__name__ + shown_arguments(self)


class FrequencyThrottle(CallbackCondition):
    """Lets the 1st, the (freq + 1)th, the (2 * freq + 1)th ... dispatch of an event through.

    The count goes on over epochs and phases. Other events always pass.

    Args:
        freq: Every how many dispatches one goes through; at least 1.

    Example:
        >>> from treadle import StepEnd, TrainingPhase
        >>> third = FrequencyThrottle(3, StepEnd)
        >>> [third.should_run(StepEnd, TrainingPhase()) for _ in range(7)]
        [True, False, False, True, False, False, True]
    """

    def __init__(self, freq: int, event: type[Event]) -> None:
        self.freq = whole_number(freq, "freq", EXAMPLE, least=1)
        self.event: type[Event] = subclass_of(event, "event", Event, EXAMPLE)
        self.count = 0

    def should_run(self, event: type[Hook], phase: Phase | None) -> bool:
        if event is not self.event:
            return True
        self.count += 1
        return self.count % self.freq == 1 % self.freq

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


class TimeThrottle(CallbackCondition):
    """Lets a dispatch of an event through if more than `seconds` passed since the last one that was.

    The first one passes. Other events always pass.

    Args:
        seconds: The time that has to pass; 0 or more.
        clock: A function that tells the time in seconds. Default: `time.monotonic`.

    Example:
        >>> from treadle import StepEnd, TrainingPhase
        >>> times = iter([0.0, 4.0, 6.0, 11.0, 12.0])
        >>> now_and_then = TimeThrottle(5, StepEnd, clock=lambda: next(times))
        >>> [now_and_then.should_run(StepEnd, TrainingPhase()) for _ in range(5)]
        [True, False, True, False, True]
    """

    def __init__(self, seconds: float, event: type[Event], clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = real_number(seconds, "seconds", "throttle(callback, StepEnd, seconds=5)", least=0)
        self.event: type[Event] = subclass_of(event, "event", Event, EXAMPLE)
        self.clock = function(clock, "clock", "TimeThrottle(5, StepEnd, clock=time.monotonic)", takes=())
        self.last: float | None = None

    def should_run(self, event: type[Hook], phase: Phase | None) -> bool:
        if event is not self.event:
            return True
        now = self.clock()
        if self.last is not None and not now - self.last > self.seconds:
            return False
        self.last = now
        return True


def forwarded(facet: str) -> Any:
    """A property that is read from the inner callback, and set there."""
    return property(
        lambda self: getattr(self.callback, facet), lambda self, value: setattr(self.callback, facet, value)
    )


def check_handled(callback: Callback, event: type[Event] | None) -> None:
    """Refuse a condition on an event that the callback does not handle, or on one that always passes."""
    if event is not None:
        subclass_of(event, "The event of a condition", Event, "FrequencyThrottle(10, StepEnd)")
    inner = handling(callback)
    events = [name for name in dir(inner) if name.startswith("on_") and callable(inspect.getattr_static(inner, name))]
    operations = [name for name in dir(inner) if is_operation(inner, name)]
    if event is None or not (events or operations) or (event.hook in events and event is not Init):
        return
    why = "and `on_init` always passes" if event is Init else f"and has no `{event.hook}`"
    listed = ", ".join(name for name in events if name != Init.hook)
    fix = f"name an event that it handles: {listed}."
    if not listed and operations:
        why = f"and handles no event, but {', '.join(f'`{name}`' for name in operations)}"
        fix = (
            "write a condition, which is asked for operations as well:\n"
            "    class Rarely(CallbackCondition):\n"
            "        def should_run(self, event, phase): return ...\n"
            f"    ConditionalCallback({type(inner).__name__}(...), Rarely())"
        )
    elif not listed:
        fix = "let it handle one, or leave `throttle` out."
    raise CallbackError(f"{callback.name} is to be throttled at {event.__name__}, {why}.\nFix: {fix}")


def is_operation(callback: Callback, name: str) -> bool:
    """Whether a method of a callback wraps or overrides an operation."""
    value = inspect.getattr_static(callback, name)
    if not callable(value) or name.startswith("on_"):
        return False
    return hasattr(value, f"{PROJECT}_impl") or (name in known_operations() and name not in vars(callback))


class ConditionalCallback(Callback):
    """Another callback, whose handlers run only when a condition is met.

    Everything the inner callback declares holds for this one: its name, its handlers with their
    phases, `state_access`, `run_after`, `resolve_conflict`, its state, and whatever else others may
    ask of it. The condition is asked at events and operations; where it returns False, the handler is
    not called, and an operation runs as if the callback were not there. `on_init` always passes.

    Example:
        >>> from treadle import CustomCallback, StepEnd, TrainingPhase, toy_learner
        >>> tell = CustomCallback(lambda learner: print("Eight more steps."), StepEnd, TrainingPhase)
        >>> result = toy_learner(ConditionalCallback(tell, FrequencyThrottle(8, StepEnd))).fit(1)
        Eight more steps.
        Eight more steps.
    """

    def __init__(self, callback: Callback, condition: CallbackCondition) -> None:
        if not isinstance(callback, Callback):
            raise CallbackError(
                f"{callback!r} is not a Callback, and nothing else can be throttled.\n"
                f"Fix: pass an instance:\n    throttle(Printer(), StepEnd, freq=10)"
            )
        instance_of(condition, "condition", CallbackCondition, "FrequencyThrottle(10, StepEnd)")
        check_handled(callback, condition.event)
        self.wrapped = callback
        self.condition = condition

    @property
    def callback(self) -> Callback:
        """The inner callback."""
        assert self.wrapped is not None
        return self.wrapped

    name = forwarded("name")
    state_access = forwarded("state_access")
    run_after = forwarded("run_after")
    guard = forwarded("guard")
    guard_fix = forwarded("guard_fix")
    essential = forwarded("essential")
    access_fix = forwarded("access_fix")
    skips_updates = forwarded("skips_updates")
    every_backward = forwarded("every_backward")
    optional_state = forwarded("optional_state")
    main_process_only = forwarded("main_process_only")
    hyperparameters = forwarded("hyperparameters")
    move_data = forwarded("move_data")
    weights_in_validation = forwarded("weights_in_validation")
    processes = forwarded("processes")

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        resolution = self.callback.resolve_conflict(other)
        return RunFirst(self) if resolution == RunFirst(self.callback) else resolution

    def measure(self, metrics: Sequence[Any]) -> Measure | None:
        return self.callback.measure(metrics)

    def added_up(self, learner: Any, phase: Phase) -> Iterable[Part]:
        return self.callback.added_up(learner, phase)

    def state_dict(self) -> dict[str, Any]:
        return {"callback": self.callback.state_dict(), "condition": self.condition.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.callback.load_state_dict(state["callback"])
        self.condition.load_state_dict(state["condition"])

    def __repr__(self) -> str:
        return f"<{self.name}{shown_arguments(self.callback)} if {self.condition!r}>"


def throttle(
    callback: Callback, event: type[Event], freq: int | None = None, seconds: float | None = None
) -> ConditionalCallback:
    """Let a callback handle an event only every so often.

    Args:
        event: The event; the callback's other handlers are not affected.
        freq: Every how many dispatches, the first one included. Dispatches are counted that reach
            the callback.
        seconds: Or, after how many seconds. Exactly one of the two is given.

    Raises:
        ArgumentTypeError: unless exactly one of `freq` and `seconds` is given, a number each.
        ArgumentValueError: for a `freq` below 1 or negative `seconds`.
        CallbackError: if the callback does not handle the event.

    Example:
        >>> from treadle import CustomCallback, StepEnd, TrainingPhase, toy_learner
        >>> steps = []
        >>> note = CustomCallback(lambda learner: steps.append(1), StepEnd, TrainingPhase)
        >>> result = toy_learner(throttle(note, StepEnd, freq=4)).fit(1)
        >>> result.steps, len(steps)
        (16, 4)
    """
    if (freq is None) == (seconds is None):
        raise ArgumentTypeError(
            "throttle needs freq or seconds, and not both.\n"
            "Fix: pass one of the two:\n"
            "    throttle(callback, StepEnd, freq=10)\n"
            "    throttle(callback, StepEnd, seconds=5)"
        )
    condition = FrequencyThrottle(freq, event) if freq is not None else TimeThrottle(seconds, event)  # type: ignore[arg-type]
    return ConditionalCallback(callback, condition)
