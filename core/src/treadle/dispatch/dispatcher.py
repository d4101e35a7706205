"""What a learner calls at each hook: from the order and pluggy's registrations to functions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from treadle.callback import Callback
from treadle.dispatch.call import WARN, Call, wrong_arguments
from treadle.dispatch.registration import CallbackManager
from treadle.dispatch.roles.agreement import ALONE, Agreed, Agreement, Alone
from treadle.dispatch.roles.guards import GuardCheck
from treadle.dispatch.roles.new_gradients import watch_for
from treadle.dispatch.roles.observers import spare_observers
from treadle.dispatch.runners import Run, one_after_the_other
from treadle.dispatch.wrappers import with_callbacks
from treadle.errors import CallbackError
from treadle.events import BackwardBegin, BackwardEnd, EpochEnd, Event, Hook, Init, StepEnd
from treadle.loop.loop import equal
from treadle.operations import Agree, Backward, Operation, Update
from treadle.phases import Phase
from treadle.state.run.callback_states import takes_part
from treadle.state.views import view
from treadle.system import is_main_process

if TYPE_CHECKING:
    from treadle.learner import Learner

#: How many different phases of one type keep their compiled functions.
KEPT = 8

#: What is done at an event without handlers: nothing, and without entering a Python function.
nothing: Callable[[], None] = type(None)


class Handle(dict[type[Hook], Callable[..., Any]]):
    """What a learner calls in a phase, by event or operation.

    `handle(StepBegin)` dispatches an event, `handle(Forward)` does an operation and returns its
    result. `handle[Forward]` is the compiled function itself; a hook is compiled when it is first
    asked for. Equal phases have one handle, which passes the one that was asked for last.

    Attributes:
        phase: The phase, or None for what happens outside of all phases.
        unrolled: What `unroll` returned last, or None.
        agreement: How processes agree on what takes effect of what was raised, where a callback handles `agree`.
    """

    __slots__ = ("_calls", "_check", "_dispatcher", "agreement", "phase", "unrolled")

    def __init__(self, dispatcher: Dispatcher, phase: Phase | None) -> None:
        super().__init__()
        self.phase, self._dispatcher = phase, dispatcher
        self.unrolled: tuple[Callable[..., Any], ...] | None = None
        self._calls: dict[type[Hook], list[Call]] = {}
        self._check = dispatcher.guard_check() if phase is not None else None
        self.agreement = dispatcher.agreement(phase, self._calls_of(Agree))

    def __call__(self, hook: type[Hook], *args: Any) -> Any:
        try:
            function = self[hook]
        except TypeError:  # a list, a mapping or a set is not even looked up
            raise not_a_hook(hook) from None
        try:
            return function(*args)
        except TypeError:
            if len(args) == len(hook.arguments[2:]):
                raise
            raise wrong_arguments(hook, args) from None

    def __missing__(self, hook: type[Hook]) -> Callable[..., Any]:
        function = self._dispatcher.compile(hook, self.phase, self._calls_of(hook))
        if self._check is not None and not self._check.over and hook in (StepEnd, EpochEnd):
            function = self._and_check(self._check, hook, function)
        self[hook] = function
        return function

    def _and_check(self, check: GuardCheck, hook: type[Hook], dispatch: Run) -> Run:
        """A function that dispatches the end of a step or an epoch and then looks at the guards."""

        def dispatch_and_check() -> None:
            dispatch()
            if not check.over and self.phase is not None:
                check.ended(hook, self.phase, self._calls)
            if check.over:
                self[hook] = dispatch

        return dispatch_and_check

    def unroll(self, hooks: Sequence[type[Hook]]) -> tuple[Callable[..., Any], ...]:
        """The functions of hooks, for a loop that does in line what comes before and after an operation."""
        self.unrolled = tuple(
            self._dispatcher.within(hook, self.phase, self._calls_of(hook))
            if issubclass(hook, Operation)
            else self[hook]
            for hook in hooks
        )
        return self.unrolled

    def perform(self, operation: type[Operation], *args: Any) -> Any:
        """Do an operation that is no part of the loop's own step; who sees every backward pass sees it too."""
        around = [BackwardBegin, BackwardEnd] if operation is Backward else []
        watching = [[call for call in self._calls_of(hook) if call.callback.every_backward] for hook in around]
        if not any(watching):
            return self(operation, *args)
        before, after = (one_after_the_other(calls) if calls else nothing for calls in watching)
        before()
        result = self(operation, *args)
        after()
        return result

    def _calls_of(self, hook: type[Hook]) -> list[Call]:
        if hook not in self._calls:
            self._calls[hook] = self._dispatcher.calls(hook, self.phase)
        return self._calls[hook]

    def use(self, phase: Phase | None) -> None:
        """Pass this phase from now on. It is equal to the one before."""
        self.phase, self.unrolled = phase, None
        for calls in self._calls.values():
            for call in calls:
                call.use(phase)
        for operation in [hook for hook in self if issubclass(hook, Operation)]:
            del self[operation]  # the core's part is bound to the phase
        self.agreement = self._dispatcher.agreement(phase, self._calls_of(Agree))


class Dispatcher:
    """Makes the handles of a learner with a set of callbacks."""

    def __init__(self, learner: Learner, callbacks: Sequence[Callback]) -> None:
        self._learner = learner
        self._manager = CallbackManager(callbacks)
        self._views = {callback: view(learner, callback) for callback in callbacks}
        self._handles: dict[type[Phase | None], list[Handle]] = {}
        self._warned: set[tuple[Callback, type[Phase]]] = set()
        self._warned_lost: set[str] = set()
        self._main, self._agreed = is_main_process(), Agreed()

    def refresh(self) -> None:
        """Compile anew if this process has joined or left a process group, so that others take part in it."""
        if self._main is not (main := is_main_process()):
            self._main = main
            self._handles.clear()
            self._learner.current = self.handle(None)

    def handle(self, phase: Phase | None) -> Handle:
        """What is called in a phase, or for None outside of all phases."""
        handles = self._handles.setdefault(type(phase), [])
        under_way = [scope.phase for scope in self._learner.position.scopes]
        handles.sort(key=lambda handle: handle.phase is not phase)  # its own before those of equal phases
        for i, handle in enumerate(handles):
            if handle.phase is phase or (
                all(handle.phase is not other for other in under_way) and equal(handle.phase, phase)
            ):
                del handles[i]
                break
        else:
            handle = Handle(self, phase)
        handles.insert(0, handle)
        del handles[KEPT:]
        if handle.phase is not phase:
            handle.use(phase)
        return handle

    def guard_check(self) -> GuardCheck | None:
        """What finds out whether a phase passes a guard by; None if there is no guard."""
        guards = [
            (callback, list(handlers.values()))
            for callback, handlers in zip(
                self._learner.ordering.callbacks, self._learner.ordering.handlers, strict=True
            )
            if callback.guard
        ]
        return GuardCheck(self._learner, guards, self._warned) if guards else None

    def calls(self, hook: type[Hook], phase: Phase | None) -> list[Call]:
        """The handlers of a hook in a phase, in their order."""
        if not (isinstance(hook, type) and issubclass(hook, (Event, Operation))):
            raise not_a_hook(hook)
        caller = getattr(self._manager.hook, hook.hook, None)
        implementations = {i.plugin: i for i in caller.get_hookimpls()} if caller is not None else {}
        of = self._manager.implementers
        calls = [
            Call(callback, hook, implementations[of[callback]], self._learner, self._views[callback], phase)
            for callback in self._learner.ordering.order(hook, type(phase) if phase is not None else None)
            if self._main or hook is Init or not callback.main_process_only
        ]
        if hook is Init:  # one of them may make the process group
            for call in calls:
                call.function = if_taking_part(call)
        if self._learner.observer_errors == WARN and hook is not Init:
            spare_observers(calls)
        return calls

    def compile(self, hook: type[Hook], phase: Phase | None, calls: Sequence[Call]) -> Callable[..., Any]:
        """The function that does a hook with these handlers: dispatches an event, or does an operation."""
        if issubclass(hook, Operation):
            return enclosed(self.within(hook, phase, calls), hook.before, hook.after, self._learner)
        plain, wrappers = [call for call in calls if not call.wrapper], [call for call in calls if call.wrapper]
        run: Run = nothing
        if plain:
            always = issubclass(hook, Event) and hook.always
            run = one_after_the_other(plain, always=True) if always else self._learner.runner.compile(plain)
        return with_callbacks(hook, wrappers, run) if wrappers else run

    def agreement(self, phase: Phase | None, calls: Sequence[Call]) -> Alone:
        """How processes agree by these handlers of `agree`."""
        return Agreement(self.within(Agree, phase, calls), self._agreed) if calls else ALONE

    def within(self, hook: type[Operation], phase: Phase | None, calls: Sequence[Call]) -> Callable[..., Any]:
        """The function that does an operation, without what comes before and after it."""
        operation: Callable[..., Any] = hook.idle or functools.partial(hook.run, self._learner, phase)
        if not calls:
            return operation
        follow = [] if hook.check_result is None else [functools.partial(hook.check_result, self._learner)]
        watch = watch_for(self._learner, calls, self._warned_lost) if hook is Update else None
        core = operation if watch is None else watch.until(operation)
        operation = with_callbacks(hook, calls, core, follow)
        return operation if watch is None else watch.during(operation)


def if_taking_part(call: Call) -> Callable[..., Any]:
    """A call's function, run only where its callback takes part, as it turns out when it is called."""
    function = call.function
    return lambda *args: function(*args) if takes_part(call.callback) else None


def not_a_hook(value: object) -> CallbackError:
    """The error for what was passed to a handle in place of an event or an operation."""
    return CallbackError(
        f"A handle takes the class of an event or an operation, got {value!r}.\n"
        f"Fix: pass the class:\n    handle(StepEnd)"
    )


def enclosed(
    operation: Callable[..., Any],
    before: Callable[[Any], None] | None,
    after: Callable[[Any, Any], None] | None,
    learner: Learner,
) -> Callable[..., Any]:
    """An operation, with what comes before and after it and the callbacks that handle it."""
    if before is None and after is None:
        return operation

    def run_enclosed(*passed: Any) -> Any:
        if before is not None:
            before(learner)
        result = operation(*passed)
        if after is not None:
            after(learner, result)
        return result

    return run_enclosed
