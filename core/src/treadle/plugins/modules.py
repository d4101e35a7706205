"""Hook modules: how a plugin resolves conflicts between callbacks, also of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pluggy

from treadle.callback import Callback, ConflictResolution
from treadle.errors import PluginError
from treadle.events import PROJECT, hookspec
from treadle.plugins.discovery import installed, package_of
from treadle.plugins.metadata import CALLBACKS, PLUGINS


class Specifications:
    """The hooks that a module in the group `treadle.plugins` can implement, beside the events."""

    @staticmethod
    @hookspec
    def resolve_conflict(first: Callback, second: Callback) -> ConflictResolution | None:
        """How two callbacks that use the same state are used together; None leaves it open.

        Asked for each pair of callbacks that conflict, in both orders.
        """


def modules_for(callbacks: Sequence[Callback], named: Iterable[str] = ()) -> list[tuple[str, Any]]:
    """The modules of the group `treadle.plugins` that are used with these callbacks.

    These are the modules of the callbacks' distributions, and those that are named.

    Returns:
        Pairs of a unique name and the module, sorted by name.

    Raises:
        PluginError: if one of them cannot be imported.
    """
    named = set(named)
    modules = [plugin for plugin in installed(PLUGINS) if not plugin.disabled or plugin.name in named]
    if not modules:
        return []
    packages = {package_of(callback) for callback in callbacks}
    active = {plugin.distribution for plugin in installed(CALLBACKS) if plugin.package in packages}
    return [
        (f"{plugin.distribution}:{plugin.name}", plugin.load())
        for plugin in modules
        if plugin.distribution in active or plugin.name in named
    ]


def resolver(
    modules: Sequence[tuple[str, Any]],
) -> Callable[[Callback, Callback], list[tuple[str, ConflictResolution | None]]]:
    """A function that asks modules how two callbacks are used together: their names and resolutions.

    Raises:
        PluginError: if a module implements what is not a hook, or with arguments that it does not have.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Specifications)
    for name, module in modules:
        try:
            manager.register(module, name)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(
                f"The plugin {name} does not match Treadle's hooks: {error}\n"
                f"Fix: let the module implement this, and nothing else:\n"
                f"    @hookimpl\n    def resolve_conflict(first, second): ..."
            ) from error
    callers = {
        name: manager.subset_hook_caller("resolve_conflict", [other for _, other in modules if other is not module])
        for name, module in modules
    }

    def resolve(first: Callback, second: Callback) -> list[tuple[str, ConflictResolution | None]]:
        return [
            (f"resolve_conflict of the plugin {name}", resolution)
            for name, call in callers.items()
            for resolution in call(first=first, second=second)
        ]

    return resolve
