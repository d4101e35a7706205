"""What a learner calls at each hook: from the ordering and pluggy's registrations to functions."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

from treadle.callback import Callback
from treadle.errors import CallbackError, FitException
from treadle.events import PROJECT, Event, Hook, hookimpl, specification
from treadle.handlers import handlers, known_hooks
from treadle.operations import Operation
from treadle.protect import view
from treadle.runner import Call, where

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.phases import Phase

Calls = dict[type[Hook], Callable[..., Any]]
Handle = Callable[..., Any]


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
        self.add_hookspecs(types.SimpleNamespace(**{name: hook.spec for name, hook in hooks.items()}))
        for i, callback in enumerate(callbacks):
            try:
                self.register(callback, f"{i}:{callback.name}")
                self.check_pending()
            except pluggy.PluginValidationError as error:
                raise self.refusal(callback, hooks, error) from error
            for name in self.taken[id(callback)]:
                self.check_options(callback, name)

    @staticmethod
    def refusal(callback: Callback, hooks: dict[str, type[Hook]], error: Exception) -> CallbackError:
        """The error for a handler that does not match the specification of its hook."""
        own = ", ".join(
            f"{name}(self, {', '.join(hook.arguments)})" for name, hook in hooks.items() if f"{name!r}" in str(error)
        )
        detail = " ".join(str(error).split())
        return CallbackError(f"{callback.name} has a handler that does not match its hook, which is {own}. {detail}")

    def check_options(self, callback: Callback, name: str) -> None:
        """Refuse the options of pluggy that would go around the order."""
        for implementation in getattr(self.hook, name).get_hookimpls():
            if implementation.plugin is callback:
                for option in ("tryfirst", "trylast", "hookwrapper", "optionalhook"):
                    if getattr(implementation, option):
                        raise CallbackError(
                            f"{callback.name}.{name} uses @hookimpl({option}=True), which has no meaning here. The "
                            f"order comes from state_access and run_after; to wrap, use @hookimpl(wrapper=True)."
                        )


class Table(Calls):
    """The calls of a phase, by hook; a hook is compiled when it is first asked for."""

    def __init__(self, compile_hook: Callable[[type[Hook]], Callable[..., Any]]) -> None:
        super().__init__()
        self._compile = compile_hook

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
        self._bound: dict[type[Phase] | None, tuple[Phase | None, Table, Handle]] = {}

    def bind(self, phase: Phase | None) -> tuple[Table, Handle]:
        """The calls in a phase, and the function by which a phase makes them.

        Args:
            phase: The phase, or None for what happens outside of all phases.
        """
        bound = self._bound.get(type(phase) if phase is not None else None)
        if bound is None or bound[0] is not phase:
            table = Table(lambda hook: self.compile(hook, phase))

            def handle(hook: type[Hook], *args: Any) -> Any:
                return table[hook](*args)

            bound = phase, table, handle
            self._bound[type(phase) if phase is not None else None] = bound
        return bound[1], bound[2]

    def compile(self, hook: type[Hook], phase: Phase | None) -> Callable[..., Any]:
        """The function that does a hook: dispatches an event, or does an operation."""
        if not (isinstance(hook, type) and issubclass(hook, (Event, Operation))):
            raise CallbackError(f"Only the class of an event or an operation can be handled, got {hook!r}: handle(StepEnd)")
        learner = self._learner
        calls, wrapped = self.calls(hook, phase)
        if issubclass(hook, Operation):
            core = own(hook, learner, phase)
            return through_pluggy(hook, calls, core) if calls else core
        if not calls:
            return nothing
        if wrapped:
            return through_pluggy(hook, calls)
        return all_of(calls) if hook.always else learner.runner.compile([call for call, _ in calls])

    def calls(self, hook: type[Hook], phase: Phase | None) -> tuple[list[tuple[Call, bool]], bool]:
        """The handlers in their order, each with whether it is a wrapper; and whether one is."""
        caller = getattr(self._manager.hook, hook.hook, None)
        implementations = {i.plugin: i for i in caller.get_hookimpls()} if caller is not None else {}
        calls = []
        for callback in self._learner.ordering.order(hook, type(phase) if phase is not None else None):
            implementation = implementations[callback]
            known = {"learner": self._views[callback], "phase": phase}
            names = tuple(implementation.argnames)
            args = tuple(known.get(name) for name in names)
            calls.append((Call(callback, hook, implementation.function, names, args, self._learner, phase), implementation.wrapper))
        return calls, any(wrapper for _, wrapper in calls)


def nothing() -> None:
    """What is done at an event that nobody handles."""


def own(operation: type[Operation], learner: Learner, phase: Phase | None) -> Callable[..., Any]:
    """The core's own implementation of an operation; it notes on an exception during what it was raised."""
    run = operation.run

    def do(*args: Any) -> Any:
        try:
            return run(learner, phase, *args)
        except FitException:
            raise
        except BaseException as error:
            if not getattr(error, "__notes__", None):  # the innermost one says most
                error.add_note(f"Raised during {operation.hook}{where(learner, phase)}.")
            raise

    return do


def all_of(calls: Sequence[tuple[Call, bool]]) -> Callable[[], None]:
    """A function that makes every call, whatever one of them raises, and then raises the first."""

    def run() -> None:
        first: BaseException | None = None
        for call, _ in calls:
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


def through_pluggy(
    hook: type[Hook], calls: Sequence[tuple[Call, bool]], last: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """A function that does a hook by pluggy's own call, which knows wrappers and first results.

    Args:
        hook: The event or operation.
        calls: The handlers, first in the order is first asked and outermost.
        last: The core's own implementation of an operation. Default: none.
    """
    name = hook.hook
    manager = pluggy.PluginManager(PROJECT)
    firstresult = issubclass(hook, Operation)
    manager.add_hookspecs(types.SimpleNamespace(**{name: specification(name, ("args",), None, firstresult=firstresult)}))
    if last is not None:

        def core(args: tuple[Any, ...]) -> Any:
            return last(*args)

        manager.register(types.SimpleNamespace(**{name: hookimpl(core)}), "core")
    for i, (call, wrapper) in reversed(list(enumerate(calls))):  # pluggy asks the latest first
        adapter = wrapping(call) if wrapper else answering(call)
        manager.register(types.SimpleNamespace(**{name: hookimpl(adapter, wrapper=wrapper)}), f"{i}:{call.callback.name}")
    manager.check_pending()
    caller = getattr(manager.hook, name)

    def run(*args: Any) -> Any:
        return caller(args=args)

    return run


def with_arguments(call: Call, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """A call's arguments in its own order: the view and the phase, and those of the operation."""
    values = dict(zip(call.hook.arguments[2:], args, strict=True))
    return tuple(values.get(name, value) for name, value in zip(call.names, call.args, strict=True))


def answering(call: Call) -> Callable[..., Any]:
    """A function for pluggy that makes a call."""

    def adapter(args: tuple[Any, ...]) -> Any:
        try:
            return call.function(*with_arguments(call, args))
        except BaseException as error:
            call.blame(error)
            raise

    return adapter


def wrapping(call: Call) -> Callable[..., Iterator[Any]]:
    """A generator for pluggy that runs a wrapper, and blames it only for what it raised itself."""

    def adapter(args: tuple[Any, ...]) -> Iterator[Any]:
        inner: BaseException | None = None
        wrapper: Any = call.function(*with_arguments(call, args))
        try:
            next(wrapper)
            try:
                result = yield
            except BaseException as error:
                inner = error
                wrapper.throw(error)
            else:
                wrapper.send(result)
        except StopIteration as stop:
            return stop.value
        except BaseException as error:
            if error is not inner:
                call.blame(error)
            raise
        wrapper.close()
        raise CallbackError(f"{call.callback.name}.{call.hook.hook} is a wrapper and yields more than once.")

    return adapter
