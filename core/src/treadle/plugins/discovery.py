"""Discovery: the entry points of installed distributions, and the names by which they are called."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from treadle.arguments import one_of
from treadle.callback import Callback, unwrap
from treadle.errors import PluginError, did_you_mean
from treadle.events import snake_case
from treadle.plugins.metadata import CALLBACKS, CORE, PLUGINS, Metadata, core_version, distributions, normal
from treadle.plugins.version_range import allows

if TYPE_CHECKING:
    import importlib_metadata

#: Names of plugins or distributions to leave out, separated by commas; or "all".
DISABLE = "TREADLE_DISABLE_PLUGINS"


@dataclass(frozen=True)
class Plugin:
    """An entry point of an installed distribution.

    Args:
        name: What `run_after` and error messages use.
        group: `treadle.callbacks` or `treadle.plugins`.
        value: Where the object is: `module:Class`, or `module`.
        core: The versions of treadle-core that its distribution requires, `>=0.1,<0.2`; empty if it does not say.
    """

    name: str
    group: str
    value: str
    distribution: str
    version: str
    entry_point: importlib_metadata.EntryPoint = field(repr=False, compare=False)
    core: str = ""

    @property
    def package(self) -> str:
        """The top-level package that it comes from."""
        return self.value.partition(":")[0].partition(".")[0]

    @property
    def disabled(self) -> bool:
        """Whether the environment variable TREADLE_DISABLE_PLUGINS leaves it out."""
        names = {normal(name) for name in os.environ.get(DISABLE, "").split(",")}
        return not names.isdisjoint(("all", normal(self.name), normal(self.distribution)))

    @property
    def is_compatible(self) -> bool:
        """Whether it was written for the treadle-core that is installed, by what its distribution requires."""
        return allows(self.core, core_version()) is not False

    @property
    def mismatch(self) -> str:
        """Which core it was written for, which one is installed, and how they come together."""
        return (
            f"was written for {CORE} {self.core}, and {CORE} {core_version()} is installed.\n"
            f"Fix: install versions that fit each other:\n    pip install --upgrade {self.distribution} {CORE}"
        )

    @property
    def error(self) -> BaseException | None:
        """Why it cannot be used, or None. Imports it to find out, if it is compatible."""
        try:
            self.load()
        except PluginError as error:
            return error.__cause__ or error
        return None

    def load(self) -> Any:
        """Import it.

        Raises:
            PluginError: if it is disabled, was written for another version of the core, does not import, or is not
                what its group asks for. The import's own exception is the cause.
        """
        where = f"{self.name!r} ({self.distribution} {self.version}, {self.value})"
        if self.disabled:
            raise PluginError(f"The plugin {where} is disabled.\nFix: take it out of {DISABLE}.")
        if not self.is_compatible:
            raise PluginError(f"The plugin {where} {self.mismatch}")
        try:
            loaded = self.entry_point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin's SystemExit must not end the program either
            raise PluginError(
                f"The plugin {where} cannot be imported: {type(error).__name__}: {error}\n"
                f"Fix: repair or uninstall {self.distribution}, or leave it out:\n    {DISABLE}={self.name}"
            ) from error
        is_callback = isinstance(loaded, type) and issubclass(loaded, Callback)
        if self.group == CALLBACKS and not is_callback:
            raise PluginError(
                f"The plugin {where} is {loaded!r}, which is not a subclass of treadle.Callback.\n"
                f"Fix: let the entry point of {self.distribution} name a class of callbacks."
            )
        return loaded


_listed: tuple[tuple[Metadata, ...], tuple[Plugin, ...]] = ((), ())


def installed(group: str | None = None) -> tuple[Plugin, ...]:
    """The plugins that are installed, without importing any; also the disabled, incompatible and broken ones.

    Args:
        group: `"treadle.callbacks"` or `"treadle.plugins"`. Default: both.

    Example:
        >>> all(plugin.group == "treadle.callbacks" for plugin in installed("treadle.callbacks"))
        True
    """
    if group is not None:
        one_of(group, "group", [CALLBACKS, PLUGINS])
    global _listed
    present = distributions()
    if _listed[0] is not present:
        _listed = present, listed(present)
    return tuple(plugin for plugin in _listed[1] if group in (None, plugin.group))


def listed(present: Iterable[Metadata]) -> tuple[Plugin, ...]:
    """The plugins of distributions, sorted."""
    found: dict[tuple[str, str, str], Plugin] = {}
    for distribution in present:
        for entry in distribution.entry_points:
            key = (entry.group, entry.name, distribution.name)
            origin = (distribution.name, distribution.version)
            found.setdefault(key, Plugin(entry.name, entry.group, entry.value, *origin, entry, distribution.core))
    return tuple(found[key] for key in sorted(found))


def find(name: str, group: str | None = None) -> Plugin:
    """The installed plugin of that name.

    Raises:
        PluginError: if there is none, or if several distributions have one of that name.
    """
    candidates = installed(group)
    matching = [plugin for plugin in candidates if plugin.name == name]
    if not matching:
        guess = did_you_mean(name, {plugin.name for plugin in candidates})
        raise PluginError(
            f"There is no plugin called {name!r} installed. {guess}\n"
            f"Fix: correct the name, or install the distribution that has it."
        )
    usable = [plugin for plugin in matching if not plugin.disabled] or matching
    if len({plugin.value for plugin in usable}) > 1:
        origins = ", ".join(f"{plugin.distribution} ({plugin.value})" for plugin in usable)
        raise PluginError(
            f"Several distributions have a plugin called {name!r}: {origins}.\n"
            f"Fix: import the class that you mean, uninstall one of them, or leave one out:\n"
            f"    {DISABLE}={usable[0].distribution}"
        )
    return usable[0]


def load(name: str) -> type[Callback]:
    """The callback class that an installed distribution offers under the name of an entry point.

    Raises:
        PluginError: if there is none, or it cannot be used; then with the reason as its cause.
    """
    cls: type[Callback] = find(name, CALLBACKS).load()
    return cls


def distribution_of(callback: Callback) -> str | None:
    """The distribution, with its version, that a callback came from; None if it is not a plugin's."""
    package = package_of(callback)
    return next(
        (f"{plugin.distribution} {plugin.version}" for plugin in installed() if plugin.package == package), None
    )


def mismatches(callbacks: Iterable[Callback]) -> list[str]:
    """Of callbacks that were imported and not asked for by name: which were written for another core."""
    others = {plugin.package: plugin for plugin in installed() if not plugin.is_compatible}
    found = {callback.name: others.get(package_of(callback)) for callback in callbacks} if others else {}
    return [
        f"{name} ({plugin.distribution} {plugin.version}) {plugin.mismatch}" for name, plugin in found.items() if plugin
    ]


def package_of(callback: Callback) -> str:
    """The top-level package that a callback's class, without wrappers, was written in."""
    return type(unwrap(callback)).__module__.partition(".")[0]


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
