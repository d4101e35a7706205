"""Hook modules: what a plugin says about pairs of callbacks, also of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pluggy

from treadle.callback import Callback, ConflictResolution, unwrap
from treadle.errors import PluginError
from treadle.events import PROJECT, hookspec
from treadle.plugins.discovery import CALLBACKS, PLUGINS, installed


class Specifications:
    """The hooks that a module in the group `treadle.plugins` can implement, beside the events."""

    @staticmethod
    @hookspec
    def resolve_conflict(first: Callback, second: Callback) -> ConflictResolution | None:
        """Say how two callbacks that use the same state are used together.

        Asked for each pair of callbacks that clash, in both orders. None is no opinion.
        """


def modules_for(callbacks: Sequence[Callback], named: Iterable[str] = ()) -> list[tuple[str, Any]]:
    """The modules of the group `treadle.plugins` that take part beside these callbacks.

    Args:
        callbacks: The callbacks in use; modules of their distributions take part.
        named: Names of modules that take part in any case.

    Returns:
        Pairs of a unique name and the module, sorted by name.

    Raises:
        PluginError: if one of them cannot be imported.
    """
    named = set(named)
    modules = [plugin for plugin in installed(PLUGINS) if not plugin.disabled or plugin.name in named]
    if not modules:
        return []
    roots = {type(unwrap(callback)).__module__.partition(".")[0] for callback in callbacks}
    active = {
        plugin.distribution
        for plugin in installed(CALLBACKS)
        if plugin.value.partition(":")[0].partition(".")[0] in roots
    }
    return [
        (f"{plugin.distribution}:{plugin.name}", plugin.load())
        for plugin in modules
        if plugin.distribution in active or plugin.name in named
    ]


def resolver(
    modules: Sequence[tuple[str, Any]],
) -> Callable[[Callback, Callback], list[tuple[str, ConflictResolution | None]]]:
    """A function that asks modules how two callbacks are used together: each one's name and its answer.

    Raises:
        PluginError: if a module does not match the hooks.
    """
    plugins = manager(modules)
    asked = {
        name: plugins.subset_hook_caller("resolve_conflict", [other for _, other in modules if other is not module])
        for name, module in modules
    }

    def resolve(first: Callback, second: Callback) -> list[tuple[str, ConflictResolution | None]]:
        return [
            (f"resolve_conflict of the plugin {name}", answer)
            for name, ask in asked.items()
            for answer in ask(first=first, second=second)
        ]

    return resolve


def manager(modules: Iterable[tuple[str, Any]]) -> pluggy.PluginManager:
    """A pluggy manager with the modules registered, to ask `resolve_conflict`.

    Raises:
        PluginError: if a module implements what is no hook, or with arguments that it does not have.
    """
    plugins = pluggy.PluginManager(PROJECT)
    plugins.add_hookspecs(Specifications)
    for name, module in modules:
        try:
            plugins.register(module, name)
            plugins.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(
                f"The plugin {name} does not match Treadle's hooks: {error}. "
                f"A module can implement: resolve_conflict(first, second)."
            ) from error
    return plugins
