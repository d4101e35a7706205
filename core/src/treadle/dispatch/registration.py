"""The registration of callbacks with pluggy, which checks each handler against its hook."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import pluggy

from treadle.callback import Callback, unwrap
from treadle.dispatch.wrappers import namespace
from treadle.errors import CallbackError
from treadle.events import PROJECT, Hook
from treadle.ordering.handlers import handlers, known_hooks


class CallbackManager(pluggy.PluginManager):
    """A pluggy manager that takes the handlers of callbacks by their names."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        if name not in self.taken[id(plugin)]:
            return None
        return super().parse_hookimpl_opts(plugin, name) or {}

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        super().__init__(PROJECT)
        hooks = known_hooks()
        self.taken = {id(unwrap(callback)): handlers(callback, hooks) for callback in callbacks}
        self.add_hookspecs(namespace({name: hook.spec for name, hook in hooks.items()}))
        for i, callback in enumerate(callbacks):
            try:
                self.register(unwrap(callback), f"{i}:{callback.name}")
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
