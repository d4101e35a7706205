"""The registration of callbacks with pluggy, which checks each handler against its hook."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import pluggy

from treadle.callback import Callback, handling
from treadle.errors import CallbackError
from treadle.events import PROJECT, Hook
from treadle.ordering.handlers import handlers, known_hooks


class CallbackManager(pluggy.PluginManager):
    """A pluggy manager that takes the handlers of callbacks by their names.

    Attributes:
        implementers: For each callback the one whose methods are registered: what is inside of it, or its adapter.

    Raises:
        CallbackError: for a handler that does not match its hook, or uses an option that has no meaning here.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        super().__init__(PROJECT)
        hooks = known_hooks()
        self.implementers = {callback: handling(callback) for callback in callbacks}
        self._handlers = {id(other): handlers(callback, hooks) for callback, other in self.implementers.items()}
        self.add_hookspecs(type("Hooks", (), {name: staticmethod(hook.spec) for name, hook in hooks.items()}))
        for i, (callback, implementer) in enumerate(self.implementers.items()):
            try:
                self.register(implementer, f"{i}:{callback.name}")
            except pluggy.PluginValidationError as error:
                raise mismatch(callback, hooks, error) from error
        self.check_pending()
        for name, hook in hooks.items():
            for implementation in getattr(self.hook, name).get_hookimpls():
                check_handler(implementation, hook)

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        if name not in self._handlers[id(plugin)]:
            return None
        return super().parse_hookimpl_opts(plugin, name) or {}


def mismatch(callback: Callback, hooks: dict[str, type[Hook]], error: Exception) -> CallbackError:
    """The error for a handler that does not match the specification of its hook, in pluggy's words."""
    name, hook = next((name, hook) for name, hook in hooks.items() if f"{name!r}" in str(error))
    if "generator" in str(error):
        return CallbackError(
            f"{callback.name}.{name} is a wrapper without a `yield`, so nothing would be inside of it.\n"
            f"Fix: yield once; what it wraps runs there:\n    result = yield\n    return result\n"
            f"Or, to handle the hook without wrapping it, take `@hookimpl(wrapper=True)` out."
        )
    return CallbackError(
        f"{callback.name}.{name} does not match the hook of its name. {str(error).splitlines()[-1]}.\n"
        f"Fix: take any of the hook's arguments, or, if it is not meant as a handler, give it another "
        f"name:\n    def {name}(self, {', '.join(hook.arguments)}): ..."
    )


def check_handler(implementation: pluggy.HookImpl, hook: type[Hook]) -> None:
    """Refuse the options of pluggy that would go around the order, and a handler that would never run."""
    handler = f"{implementation.plugin_name.partition(':')[2]}.{hook.hook}"
    for option in ("tryfirst", "trylast", "hookwrapper", "optionalhook"):
        if getattr(implementation, option):
            raise CallbackError(
                f"{handler} uses @hookimpl({option}=True), which has no meaning here: the order comes from "
                f"state_access and run_after.\n"
                f"Fix: take it out, or, to wrap the hook, write:\n    @hookimpl(wrapper=True)"
            )
    function = implementation.function
    if inspect.isgeneratorfunction(function) and not implementation.wrapper:
        raise CallbackError(
            f"{handler} has a `yield`, so calling it would run nothing of it.\n"
            f"Fix: take the `yield` out, or, to wrap the hook, write above it:\n    @hookimpl(wrapper=True)"
        )
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise CallbackError(
            f"{handler} is an `async def`, so calling it would run nothing of it.\n"
            f"Fix: write a plain function:\n    def {hook.hook}(self): ..."
        )
    for name in implementation.kwargnames:
        if name in hook.arguments:
            raise CallbackError(
                f"{handler} gives `{name}` a default, and an argument with a default is not passed.\n"
                f"Fix: take the default out:\n    def {hook.hook}(self, {name}): ..."
            )
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise CallbackError(
                f"{handler} takes `{parameter.name}` by keyword alone, and arguments are passed by position.\n"
                f"Fix: take the `*` out:\n    def {hook.hook}(self, {parameter.name}): ..."
            )
