"""What a learner calls at each hook: from the ordering and pluggy's registrations to functions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from treadle.callback import Callback
from treadle.errors import CallbackError
from treadle.events import PROJECT, Event, Hook
from treadle.handlers import handlers, known_hooks
from treadle.operations import Operation
from treadle.protect import view
from treadle.runner import Call
from treadle.wrapping import namespace, through_pluggy

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.phases import Phase


class CallbackManager(pluggy.PluginManager):
    """A pluggy manager that takes the handlers of callbacks by their names."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        if name not in self.taken[id(plugin)]:
            return None
        return super().parse_hookimpl_opts(plugin, name) or {}

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        super().__init__(PROJECT)
        hooks = known_hooks()
        self.taken = {id(callback): handlers(callback, hooks) for callback in callbacks}
        self.add_hookspecs(namespace({name: hook.spec for name, hook in hooks.items()}))
        for i, callback in enumerate(callbacks):
            try:
                self.register(callback, f"{i}:{callback.name}")
            except pluggy.PluginValidationError as error:
                raise self.refusal(callback, hooks, error) from error
        self.check_pending()
        for name in hooks:
            for implementation in getattr(self.hook, name).get_hookimpls():
                check_options(implementation, hooks[name])

    @staticmethod
    def refusal(callback: Callback, hooks: dict[str, type[Hook]], error: Exception) -> CallbackError:
        """The error for a handler that does not match the specification of its hook."""
        own = ", ".join(
            f"{name}(self, {', '.join(hook.arguments)})" for name, hook in hooks.items() if f"{name!r}" in str(error)
        )
        detail = " ".join(str(error).split())
        return CallbackError(
            f"{callback.name} has a method that does not match the hook of its name, which is {own}. {detail} "
            f"If it is not meant to take part in the loop, give it another name."
        )


def check_options(implementation: pluggy.HookImpl, hook: type[Hook]) -> None:
    """Refuse the options of pluggy that would go around the order, and a handler that would never run."""
    handler = f"{implementation.plugin_name.partition(':')[2]}.{hook.hook}"
    for option in ("tryfirst", "trylast", "hookwrapper", "optionalhook"):
        if getattr(implementation, option):
            raise CallbackError(
                f"{handler} uses @hookimpl({option}=True), which has no meaning here. The order comes from "
                f"state_access and run_after; to wrap, use @hookimpl(wrapper=True)."
            )
    function = implementation.function
    if inspect.isgeneratorfunction(function) and not implementation.wrapper:
        raise CallbackError(
            f"{handler} has a `yield`, so calling it would run nothing of it. To wrap, write "
            f"@hookimpl(wrapper=True) above it; otherwise take the `yield` out."
        )
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise CallbackError(f"{handler} is an `async def`, so calling it would run nothing of it. Write `def`.")
    for name in implementation.kwargnames:
        if name in hook.arguments:
            raise CallbackError(
                f"{handler} gives `{name}` a default, and an argument with a default is not passed. "
                f"Take the default out: {hook.hook}(self, {name})"
            )
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise CallbackError(
                f"{handler} takes `{parameter.name}` by keyword alone, and arguments are passed by position. "
                f"Take the `*` out."
            )


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
            core = functools.partial(hook.run, self._learner, phase)
            if not calls:
                return core
            do = through_pluggy(hook, calls, core)
            return do if hook.heed is None else functools.partial(heeding, do, hook.heed, self._learner)
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
            calls.append(Call(callback, hook, implementations[callback], known, self._learner, phase))
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


def heeding(do: Callable[..., Any], heed: Callable[..., None], learner: Learner, *args: Any) -> Any:
    """Do an operation, and tell the core its result, whoever gave it."""
    result = do(*args)
    heed(learner, result)
    return result
