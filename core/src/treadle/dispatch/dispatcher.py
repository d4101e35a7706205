"""What a learner calls at each hook: from the ordering and pluggy's registrations to functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from treadle.callback import Callback, unwrap
from treadle.dispatch.registration import CallbackManager
from treadle.dispatch.runners import Call
from treadle.dispatch.wrappers import through_pluggy
from treadle.errors import CallbackError
from treadle.events import Event, Hook
from treadle.operations import Operation
from treadle.phases import Phase
from treadle.state.views import view

if TYPE_CHECKING:
    from treadle.learner import Learner


class Handle(dict[type[Hook], Callable[..., Any]]):
    """What a learner calls in a phase, by event or operation.

    `handle(StepBegin)` dispatches an event, `handle(Forward)` does an operation and returns its
    result. `handle[Forward]` is the compiled function itself; a hook is compiled when it is first
    asked for.

    Attributes:
        phase: The phase, or None for what happens outside of all phases.
    """

    __slots__ = ("_compile", "phase")

    def __init__(self, phase: Phase | None, compile_hook: Callable[[type[Hook]], Callable[..., Any]]) -> None:
        super().__init__()
        self.phase, self._compile = phase, compile_hook

    def __call__(self, hook: type[Hook], *args: Any) -> Any:
        return self[hook](*args)

    def __missing__(self, hook: type[Hook]) -> Callable[..., Any]:
        call = self[hook] = self._compile(hook)
        return call


class Dispatcher:
    """Makes the tables of calls of a learner with a set of callbacks.

    Args:
        learner: The learner.
        callbacks: Its callbacks.
    """

    def __init__(self, learner: Learner, callbacks: Sequence[Callback]) -> None:
        self._learner = learner
        self._manager = CallbackManager(callbacks)
        self._views = {callback: view(learner, callback) for callback in callbacks}
        self._handles: dict[type[Phase] | None, Handle] = {}

    def handle(self, phase: Phase | None) -> Handle:
        """The calls in a phase.

        Args:
            phase: The phase, or None for what happens outside of all phases.
        """
        kind = type(phase) if phase is not None else None
        handle = self._handles.get(kind)
        if handle is None or handle.phase is not phase:
            handle = self._handles[kind] = Handle(phase, lambda hook: self.compile(hook, phase))
        return handle

    def compile(self, hook: type[Hook], phase: Phase | None) -> Callable[..., Any]:
        """The function that does a hook: dispatches an event, or does an operation."""
        if not (isinstance(hook, type) and issubclass(hook, (Event, Operation))):
            raise CallbackError(
                f"Only the class of an event or an operation can be handled, got {hook!r}: handle(StepEnd)"
            )
        calls = self.calls(hook, phase)
        if issubclass(hook, Operation):
            do: Callable[..., Any] = functools.partial(hook.run, self._learner, phase)
            if calls:
                do = through_pluggy(hook, calls, do)
                if hook.heed is not None:
                    do = followed(do, hook.heed, self._learner)
            return do if hook.after is None else followed(do, hook.after, self._learner)
        plain, wrappers = [call for call in calls if not call.wrapper], [call for call in calls if call.wrapper]
        run: Callable[[], object] = nothing
        if plain:
            run = all_of(plain) if hook.always else self._learner.runner.compile(plain)
        return through_pluggy(hook, wrappers, run) if wrappers else run

    def calls(self, hook: type[Hook], phase: Phase | None) -> list[Call]:
        """The handlers of a hook in a phase, in their order."""
        caller = getattr(self._manager.hook, hook.hook, None)
        implementations = {i.plugin: i for i in caller.get_hookimpls()} if caller is not None else {}
        calls = []
        for callback in self._learner.ordering.order(hook, type(phase) if phase is not None else None):
            known = {"learner": self._views[callback], "phase": phase}
            calls.append(Call(callback, hook, implementations[unwrap(callback)], known, self._learner, phase))
        return calls


#: What is done at an event that nobody handles: nothing, and without entering a Python function.
nothing: Callable[[], None] = type(None)


def all_of(calls: Sequence[Call]) -> Callable[[], None]:
    """A function that makes every call, whatever one of them raises, and then raises the first."""

    def run() -> None:
        first: BaseException | None = None
        for call in calls:
            try:
                call()
            except BaseException as error:
                call.blame(error)
                if first is None:
                    first = error
                else:
                    first.add_note(f"After it, {call.callback.name} raised {error!r} in {call.hook.hook}.")
        if first is not None:
            raise first

    return run


def followed(do: Callable[..., Any], after: Callable[..., None], learner: Learner) -> Callable[..., Any]:
    """A function that does an operation and hands on its result, after the core has looked at it."""

    def perform(*args: Any) -> Any:
        result = do(*args)
        after(learner, result)
        return result

    return perform
