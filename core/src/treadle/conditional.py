"""Callbacks that run only now and then: a condition around another callback."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from treadle.access import Permission
from treadle.callback import Callback, ConflictResolution, RunFirst
from treadle.errors import ArgumentError, ArgumentValueError, CallbackError
from treadle.events import PROJECT, Event, Init
from treadle.handlers import handler_phases, implemented, known_hooks
from treadle.phases import Phase


class CallbackCondition:
    """Says when the callback inside of a `ConditionalCallback` runs.

    Example:
        >>> from treadle import CustomCallback, EpochEnd, ValidationPhase, toy_learner
        >>> class OnlyInValidation(CallbackCondition):
        ...     "Let through what happens in validation."
        ...     def should_run(self, event, phase):
        ...         return isinstance(phase, ValidationPhase)
        >>> hello = CustomCallback(lambda learner: print("An epoch ended."), EpochEnd)
        >>> result = toy_learner(ConditionalCallback(hello, OnlyInValidation())).fit(1)
        An epoch ended.

    Source: FluxTraining.jl, `CallbackCondition`.
    """

    def should_run(self, event: type[Event], phase: Phase | None) -> bool:
        """Whether a dispatch goes through.

        Args:
            event: The event's class.
            phase: The phase, or None for an event outside of all phases.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not say when to run. Define it:\n"
            f"    def should_run(self, event, phase): return True"
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this condition. Default: nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""


class FrequencyThrottle(CallbackCondition):
    """Lets the 1st, the (freq + 1)th, the (2 * freq + 1)th ... dispatch of an event through.

    The count goes on over epochs and phases. Other events always pass.

    Args:
        freq: Every how many dispatches one goes through; at least 1.
        event: The event.

    Source: FluxTraining.jl, `FrequencyThrottle`.
    """

    def __init__(self, freq: int, event: type[Event]) -> None:
        if isinstance(freq, bool) or not isinstance(freq, int):
            raise ArgumentError(f"freq is a whole number of dispatches, got {freq!r}: freq=10")
        if freq < 1:
            raise ArgumentValueError(f"freq is at least 1 dispatch, got {freq}: freq=10")
        self.freq, self.event = freq, checked_event(event)
        self.count = 0

    def should_run(self, event: type[Event], phase: Phase | None) -> bool:
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
        event: The event.
        clock: A function that tells the time in seconds. Default: `time.monotonic`.

    Source: FluxTraining.jl, `TimeThrottle`.
    """

    def __init__(self, seconds: float, event: type[Event], clock: Callable[[], float] = time.monotonic) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise ArgumentError(f"seconds is a number, got {seconds!r}: seconds=5")
        if not seconds >= 0:
            raise ArgumentValueError(f"seconds is 0 or more, got {seconds}: seconds=5")
        self.seconds, self.event, self.clock = seconds, checked_event(event), clock
        self.last: float | None = None

    def should_run(self, event: type[Event], phase: Phase | None) -> bool:
        if event is not self.event:
            return True
        now = self.clock()
        if self.last is not None and not now - self.last > self.seconds:
            return False
        self.last = now
        return True


class ConditionalCallback(Callback):
    """Another callback, whose handlers run only when a condition is met.

    Everything the inner callback declares holds for this one: its name, its handlers with their
    phases, `state_access`, `run_after`, `resolve_conflict` and its state. The condition is asked at
    events; `on_init` and operations always pass.

    Args:
        callback: The callback.
        condition: When to run it.

    Reads: what the inner callback reads.
    Writes: what the inner callback writes.

    Source: FluxTraining.jl, `ConditionalCallback`.
    """

    def __init__(self, callback: Callback, condition: CallbackCondition) -> None:
        if not isinstance(callback, Callback):
            raise CallbackError(
                f"Only a callback can be throttled, got {callback!r}: throttle(Printer(), StepEnd, freq=10)"
            )
        if not callable(getattr(condition, "should_run", None)):
            raise ArgumentError(f"{condition!r} is no condition: it has no method should_run(event, phase).")
        self.wrapped = callback  # type: ignore[misc]
        self.condition = condition
        hooks = known_hooks()
        for name in implemented(callback, hooks):
            method = getattr(callback, name)
            guarded, event = method, hooks[name]
            if issubclass(event, Event) and event is not Init:
                guarded = guard(method, event, condition)
                guarded.__annotations__["phase"] = _union(handler_phases(callback, method))
            setattr(self, name, guarded)

    @property
    def callback(self) -> Callback:
        """The inner callback."""
        assert self.wrapped is not None
        return self.wrapped

    @property
    def name(self) -> str:
        return self.callback.name

    @name.setter
    def name(self, name: str) -> None:
        self.callback.name = name

    @property
    def state_access(self) -> Mapping[str, type[Permission]]:  # type: ignore[override]
        return self.callback.state_access

    @property
    def run_after(self) -> Iterable[type[Callback] | str]:  # type: ignore[override]
        return self.callback.run_after

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        answer = self.callback.resolve_conflict(other)
        return RunFirst(self) if answer == RunFirst(self.callback) else answer

    def state_dict(self) -> dict[str, Any]:
        return {"callback": self.callback.state_dict(), "condition": self.condition.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.callback.load_state_dict(state["callback"])
        self.condition.load_state_dict(state["condition"])

    def __repr__(self) -> str:
        return f"<{self.name} if {type(self.condition).__name__}>"


def throttle(
    callback: Callback, event: type[Event], freq: int | None = None, seconds: float | None = None
) -> ConditionalCallback:
    """Let a callback handle an event only every so often.

    Args:
        callback: The callback.
        event: The event; the callback's other handlers are not affected.
        freq: Every how many dispatches, the first one included. Dispatches are counted that reach
            the callback.
        seconds: Or, after how many seconds. Exactly one of the two is given.

    Raises:
        ArgumentError: unless exactly one of `freq` and `seconds` is given, a number each.
        ArgumentValueError: for a `freq` below 1 or negative `seconds`.

    Example:
        >>> from treadle import CustomCallback, StepEnd, TrainingPhase, toy_learner
        >>> steps = []
        >>> note = CustomCallback(lambda learner: steps.append(1), StepEnd, TrainingPhase)
        >>> result = toy_learner(throttle(note, StepEnd, freq=4)).fit(1)
        >>> result.steps, len(steps)
        (16, 4)

    Source: FluxTraining.jl, `throttle`.
    """
    if (freq is None) == (seconds is None):
        raise ArgumentError(
            "throttle needs freq or seconds, one of the two: throttle(callback, StepEnd, freq=10) "
            "or throttle(callback, StepEnd, seconds=5)"
        )
    condition = FrequencyThrottle(freq, event) if freq is not None else TimeThrottle(seconds, event)  # type: ignore[arg-type]
    return ConditionalCallback(callback, condition)


def checked_event(event: Any) -> type[Event]:
    """The class of an event, or an error."""
    if isinstance(event, type) and issubclass(event, Event):
        return event
    raise ArgumentError(f"The class of an event is needed, got {event!r}: throttle(callback, StepEnd, freq=10)")


def guard(method: Callable[..., Any], event: type[Event], condition: CallbackCondition) -> Callable[..., Any]:
    """A handler that asks a condition first, with the signature that the event specifies."""
    names = handler_arguments(method)
    options = getattr(method, f"{PROJECT}_impl", None) or {}
    wraps, phased = bool(options.get("wrapper")), event.phased

    def run(learner: Any, phase: Any) -> Any:
        if condition.should_run(event, phase):
            return method(*[learner if name == "learner" else phase for name in names])
        return None

    def run_around(learner: Any, phase: Any) -> Generator[Any, Any, Any]:
        if condition.should_run(event, phase):
            return (yield from method(*[learner if name == "learner" else phase for name in names]))
        return (yield)

    def run_outside(learner: Any) -> Any:
        return run(learner, None)

    def run_around_outside(learner: Any) -> Generator[Any, Any, Any]:
        return (yield from run_around(learner, None))

    target: Callable[..., Any]
    if wraps:
        target = run_around if phased else run_around_outside
    else:
        target = run if phased else run_outside
    if options:
        setattr(target, f"{PROJECT}_impl", options)
    target.__name__, target.__qualname__, target.__doc__ = method.__name__, method.__qualname__, method.__doc__
    return target


def handler_arguments(method: Callable[..., Any]) -> list[str]:
    """The names of a handler's arguments, without `self`."""
    code = getattr(method, "__func__", method).__code__
    names = list(code.co_varnames[: code.co_argcount])
    return names[1:] if hasattr(method, "__func__") else names


def _union(phases: tuple[type[Phase], ...]) -> Any:
    union: Any = phases[0]
    for phase in phases[1:]:
        union = union | phase
    return union
