"""Where a callback comes from, and by which names others may call it."""

from __future__ import annotations

import sys

from treadle.callback import Callback, unwrap
from treadle.events import snake_case
from treadle.plugins import CALLBACKS, Plugin, installed


def distribution_of(callback: Callback) -> str | None:
    """The distribution, with its version, that a callback came from; None if it is no plugin's."""
    root = type(unwrap(callback)).__module__.partition(".")[0]
    for plugin in installed():
        if plugin.value.partition(":")[0].partition(".")[0] == root:
            return f"{plugin.distribution} {plugin.version}"
    return None


def names_of(callback: Callback) -> set[str]:
    """Everything by which `run_after` may call a callback: its name, class names, entry points."""
    inner = unwrap(callback)
    names = {callback.name, inner.name}
    for cls in type(inner).__mro__[:-2]:
        names |= {cls.__name__, snake_case(cls.__name__)}
    return names | entry_point_names(type(inner))


def entry_point_names(cls: type[Callback]) -> set[str]:
    """The entry points' names of a class and its base classes."""
    classes = {f"{base.__module__}:{base.__qualname__}": base for base in cls.__mro__}
    return {
        plugin.name
        for plugin in installed(CALLBACKS)
        if plugin.value in classes or any(is_loaded_as(plugin, base) for base in classes.values())
    }


def is_loaded_as(plugin: Plugin, cls: type) -> bool:
    """Whether an entry point means this class by another path, such as its package."""
    module, _, attribute = plugin.value.partition(":")
    return getattr(sys.modules.get(module), attribute, None) is cls if attribute else False
