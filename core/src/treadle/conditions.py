"""Conditions: when the callback inside of a `ConditionalCallback` runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from operator import index
from typing import Any

from treadle.errors import ArgumentError, ArgumentValueError
from treadle.events import Event
from treadle.phases import Phase


class CallbackCondition:
    """Says when the callback inside of a `ConditionalCallback` runs.

    Example:
        >>> from treadle import ConditionalCallback, CustomCallback, EpochEnd, ValidationPhase, toy_learner
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

    Example:
        >>> from treadle import StepEnd, TrainingPhase
        >>> third = FrequencyThrottle(3, StepEnd)
        >>> [third.should_run(StepEnd, TrainingPhase()) for _ in range(7)]
        [True, False, False, True, False, False, True]

    Source: FluxTraining.jl, `FrequencyThrottle`.
    """

    def __init__(self, freq: int, event: type[Event]) -> None:
        if isinstance(freq, bool) or not hasattr(freq, "__index__"):  # NumPy's have it, too
            raise ArgumentError(f"freq is a whole number of dispatches, got {freq!r}: freq=10")
        if freq < 1:
            raise ArgumentValueError(f"freq is at least 1 dispatch, got {freq}: freq=10")
        self.freq, self.event = index(freq), checked_event(event)
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

    Example:
        >>> from treadle import StepEnd, TrainingPhase
        >>> times = iter([0.0, 4.0, 6.0, 11.0, 12.0])
        >>> now_and_then = TimeThrottle(5, StepEnd, clock=lambda: next(times))
        >>> [now_and_then.should_run(StepEnd, TrainingPhase()) for _ in range(5)]
        [True, False, True, False, True]

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


def checked_event(event: Any) -> type[Event]:
    """The class of an event, or an error."""
    if isinstance(event, type) and issubclass(event, Event):
        return event
    raise ArgumentError(f"The class of an event is needed, got {event!r}: throttle(callback, StepEnd, freq=10)")
