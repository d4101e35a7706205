"""Callbacks that run only now and then: another callback, inside of a condition."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from treadle.access import Permission
from treadle.callback import Callback, ConflictResolution, RunFirst
from treadle.conditions import CallbackCondition, FrequencyThrottle, TimeThrottle
from treadle.errors import ArgumentError, CallbackError
from treadle.events import PROJECT, Event, Init
from treadle.handlers import handler_phases, implemented, known_hooks
from treadle.phases import Phase


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

    Example:
        >>> from treadle import CustomCallback, StepEnd, TrainingPhase, toy_learner
        >>> tell = CustomCallback(lambda learner: print("Eight more steps."), StepEnd, TrainingPhase)
        >>> result = toy_learner(ConditionalCallback(tell, FrequencyThrottle(8, StepEnd))).fit(1)
        Eight more steps.
        Eight more steps.

    Source: FluxTraining.jl, `ConditionalCallback`.
    """

    def __init__(self, callback: Callback, condition: CallbackCondition) -> None:
        if not isinstance(callback, Callback):
            raise CallbackError(
                f"Only a callback can be throttled, got {callback!r}: throttle(Printer(), StepEnd, freq=10)"
            )
        if not isinstance(condition, CallbackCondition):
            raise ArgumentError(
                f"A condition is an instance of CallbackCondition, got {condition!r}: FrequencyThrottle(10, StepEnd)"
            )
        self.wrapped = callback  # type: ignore[misc]
        self.condition = condition
        self._forward()

    def _forward(self) -> None:
        """Have all handlers of the inner callback, those of events behind the condition."""
        hooks = known_hooks()
        for name in implemented(self.callback, hooks):
            method = getattr(self.callback, name)
            guarded, event = method, hooks[name]
            if issubclass(event, Event) and event is not Init:
                guarded = guard(method, event, self.condition)
                guarded.__annotations__["phase"] = _union(handler_phases(self.callback, method))
            setattr(self, name, guarded)

    def __getstate__(self) -> dict[str, Any]:
        """All but the handlers, which would go on calling the callback of the one copied."""
        handlers = implemented(self.callback, known_hooks())
        return {name: value for name, value in vars(self).items() if name not in handlers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forward()

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
    """The names of a handler's arguments, without `self`; one with a default is not passed, as pluggy has it."""
    parameters = inspect.signature(method).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is parameter.empty]


def _union(phases: tuple[type[Phase], ...]) -> Any:
    union: Any = phases[0]
    for phase in phases[1:]:
        union = union | phase
    return union
