"""`Call`: a callback's handler, ready to be called."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import pluggy

from treadle.callback import Callback
from treadle.errors import ArgumentTypeError, CallbackError, FitException
from treadle.events import Hook, Init
from treadle.phases import Phase
from treadle.plugins.discovery import distribution_of
from treadle.throttle import CallbackCondition, ConditionalCallback

if TYPE_CHECKING:
    from treadle.learner import Learner

#: What a learner does with the errors of observers; see `dispatch.roles.observers`.
RAISE, WARN = "raise", "warn"

#: How the note begins that says who raised an exception, and the note as a whole: other notes may begin so as well.
RAISED_BY = "Raised by "
NOTE = re.compile(rf"{RAISED_BY}.+ in \w+(\.|, \w+, epoch \d+, step \d+\.)")


class Call:
    """A callback's handler of a hook in a phase, with the arguments that it asks for.

    Args:
        implementation: What pluggy registered for it.
        view: The learner, as the callback sees it.

    Attributes:
        function: The bound method, inside of the callback's conditions.
        names: The names of the arguments that it asks for.
        args: The values of those among them that do not change from call to call.
        wrapper: Whether it is a wrapper.
    """

    __slots__ = ("args", "callback", "function", "hook", "learner", "names", "phase", "view", "wrapper")

    def __init__(
        self,
        callback: Callback,
        hook: type[Hook],
        implementation: pluggy.HookImpl,
        learner: Learner,
        view: Any,
        phase: Phase | None,
    ) -> None:
        self.callback, self.hook, self.learner, self.view = callback, hook, learner, view
        self.function: Callable[..., Any] = implementation.function
        self.names = tuple(implementation.argnames)
        self.wrapper = implementation.wrapper
        self.use(phase)
        if hook is not Init:
            for condition in reversed([*conditions(callback)]):
                self.function = conditional(self, condition)

    def use(self, phase: Phase | None) -> None:
        """Pass this phase from now on. It is equal to the one before."""
        self.phase = phase
        known = {"learner": self.view, "phase": phase}
        self.args = tuple(known.get(name) for name in self.names)

    def __call__(self) -> object:
        return self.function(*self.args)

    def arguments(self, passed: tuple[Any, ...]) -> tuple[Any, ...]:
        """All arguments, where an operation was passed these beside learner and phase."""
        if not passed:
            return self.args
        values = dict(zip(self.hook.arguments[2:], passed, strict=True))
        return tuple(values.get(name, value) for name, value in zip(self.names, self.args, strict=True))

    def independent(self, other: Call) -> bool:
        """Whether the two may run at the same time."""
        return self.learner.ordering.independent(self.callback, other.callback)

    def annotate(self, error: BaseException) -> None:
        """Add a note to an exception that says who raised it and where; a cancel also gets its `callback`.

        Where loops are inside of each other, the innermost callback raised it, and the others only ran the loop.
        """
        if isinstance(error, FitException):
            if error.callback is not None:
                return
            error.callback = self.callback
        elif notes_of(error):
            return
        error.add_note(f"{RAISED_BY}{self.owner} in {self.place}.")
        if self.learner.observer_errors == WARN and self.hook is not Init and not isinstance(error, FitException):
            why = self.learner.ordering.no_observers.get(self.callback)
            if why is not None:
                error.add_note(f'Its errors end a fit, also with observer_errors="{WARN}": {why}.')

    @property
    def owner(self) -> str:
        """The callback's name, with its distribution."""
        distribution = distribution_of(self.callback)
        return f"{self.callback.name} ({distribution})" if distribution else self.callback.name

    @property
    def place(self) -> str:
        """Which handler it is, and where the learner stands."""
        place, progress = self.hook.hook, self.learner.progress
        if self.phase is not None:
            place += f", {type(self.phase).__name__}, epoch {progress.epoch}, step {progress.step}"
        return place


def notes_of(error: BaseException) -> list[str]:
    """The notes that say which callback raised an exception."""
    return [note for note in getattr(error, "__notes__", ()) if NOTE.fullmatch(note)]


def wrong_arguments(hook: type[Hook], passed: tuple[Any, ...]) -> ArgumentTypeError:
    """The error for a hook that was not passed what it takes beside learner and phase."""
    names, count = hook.arguments[2:], len(passed)
    takes = f"{len(names)} argument{'s' if len(names) > 1 else ''}" if names else "no arguments"
    listed = f" ({', '.join(names)})" if names else ""
    fix = "pass them in this order" if names else "pass none; what handlers need to know stands in the step's state"
    return ArgumentTypeError(
        f"`{hook.hook}` takes {takes} beside learner and phase{listed}, and {count} {'was' if count == 1 else 'were'} "
        f"passed.\nFix: {fix}:\n    handle({', '.join([hook.__name__, *names])})"
    )


def conditions(callback: Callback) -> Iterator[CallbackCondition]:
    """The conditions around a callback, the outermost first."""
    while callback.wrapped is not None:
        if isinstance(callback, ConditionalCallback):
            yield callback.condition
        callback = callback.wrapped


def no_decision(condition: CallbackCondition) -> NoReturn:
    """Refuse a condition that returns None, as one does that forgets its `return`."""
    name = type(condition).__name__
    raise CallbackError(
        f"{name}.should_run returned None, which says neither that the callback runs nor that it does not.\n"
        f"Fix: return a bool, in all cases:\n    def should_run(self, event, phase): return True"
    )


def conditional(call: Call, condition: CallbackCondition) -> Callable[..., Any]:
    """A call's function, run only where the condition is met; a wrapper else lets through what it wraps."""
    function, hook, should_run = call.function, call.hook, condition.should_run

    def run_if(*args: Any) -> Any:
        runs = should_run(hook, call.phase)
        if runs:
            return function(*args)
        return no_decision(condition) if runs is None else None

    def wrap_if(*args: Any) -> Generator[Any, Any, Any]:
        runs = should_run(hook, call.phase)
        if runs:
            return (yield from function(*args))
        return (yield) if runs is not None else no_decision(condition)

    return wrap_if if call.wrapper else run_if
