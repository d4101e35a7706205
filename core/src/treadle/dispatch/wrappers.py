"""Wrappers and first results: a hook that is done by pluggy's own call, around the core's part."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import pluggy

from treadle.dispatch.runners import Call
from treadle.errors import CallbackError
from treadle.events import PROJECT, Hook, hookimpl, specification


def through_pluggy(hook: type[Hook], calls: Sequence[Call], last: Callable[..., Any]) -> Callable[..., Any]:
    """A function that does a hook by pluggy's own call, which knows wrappers and first results.

    Args:
        hook: The event or operation.
        calls: The handlers, first in the order is first asked and outermost.
        last: What is asked last and is innermost: the core's own implementation of an operation, or
            the handlers of an event that are no wrappers.
    """
    name = hook.hook
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(namespace({name: specification(name, ("args",), None, firstresult=True)}))

    def core(args: tuple[Any, ...]) -> Any:
        return last(*args)

    manager.register(namespace({name: hookimpl(core)}), "core")
    for i, call in reversed(list(enumerate(calls))):  # pluggy asks the latest first
        adapter = wrapping(call) if call.wrapper else answering(call)
        manager.register(namespace({name: hookimpl(adapter, wrapper=call.wrapper)}), f"{i}:{call.callback.name}")
    manager.check_pending()
    caller = getattr(manager.hook, name)

    def run(*args: Any) -> Any:
        return caller(args=args)

    return run


def namespace(functions: Mapping[str, Callable[..., Any]]) -> type:
    """A class that holds functions, as pluggy takes its specifications and implementations."""
    return type("Namespace", (), {name: staticmethod(function) for name, function in functions.items()})


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


def wrapping(call: Call) -> Callable[..., Generator[None, Any, Any]]:
    """A generator for pluggy that runs a wrapper, and blames it only for what it raised itself."""

    def adapter(args: tuple[Any, ...]) -> Generator[None, Any, Any]:
        inner: BaseException | None = None
        wrapper: Any = call.function(*with_arguments(call, args))
        begun = False
        try:
            next(wrapper)
            begun = True
            try:
                result = yield
            except BaseException as error:
                inner = error
                wrapper.throw(error)
            else:
                wrapper.send(result)
        except StopIteration as stop:
            if begun:
                return stop.value
        except BaseException as error:
            if error is not inner:
                call.blame(error)
            raise
        wrapper.close()
        times = "more than once" if begun else "nothing"
        raise CallbackError(
            f"{call.callback.name}.{call.hook.hook} is a wrapper and yields {times}. It yields once, and what it "
            f"wraps runs there: result = yield; return result"
        )

    return adapter
