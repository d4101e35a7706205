"""What is installed: each callback and hook module, what it declares, and why one cannot be used."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from treadle import Callback, Phase, Read, TreadleError, Write, accesses, plugins
from treadle.authoring import handlers, preview
from treadle.plugins import CALLBACKS, PLUGINS, Plugin

T = TypeVar("T")

Status = Literal["usable", "broken", "disabled"]

#: In place of what is declared by a property that only a callback with arguments can answer.
DEPENDS = "depends on its arguments"


@dataclass(frozen=True)
class Found:
    """A callback that is installed.

    Args:
        reason: Why it is broken or disabled, or why none could be made to look at; empty if one could.
        callback: One, as its `example()` made it.
        declared: What it declares; of a class of which none could be made, what does not depend on the arguments.
    """

    plugin: Plugin
    status: Status
    reason: str = ""
    callback: Callback | None = None
    declared: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for a program."""
        return {**origin(self.plugin), "status": self.status, "reason": self.reason, **self.declared}


def callbacks() -> list[Found]:
    """The callbacks that are installed, sorted by name."""
    return [found(plugin) for plugin in plugins.installed(CALLBACKS)]


def found(plugin: Plugin) -> Found:
    """What an entry point leads to."""
    if plugin.disabled:
        return Found(plugin, "disabled", f"{plugins.DISABLE} leaves it out")
    try:
        with quiet():
            cls = plugin.load()
        plugins.find(plugin.name, CALLBACKS)  # several distributions may have one of that name
    except TreadleError as error:
        return Found(plugin, "broken", first_line(error))
    try:
        with quiet():
            callback = cls.example()
    except (Exception, SystemExit) as error:
        reason = f"{cls.__name__}.example() raises {type(error).__name__}: {first_line(error)}"
        return Found(plugin, "usable", reason, declared=class_declarations(cls))
    try:
        return Found(plugin, "usable", callback=callback, declared=declarations(callback))
    except Exception as error:  # of what is declared, or of a property that declares it
        return Found(plugin, "broken", f"{type(error).__name__}: {first_line(error)}")


def hook_modules() -> list[dict[str, Any]]:
    """The modules that are installed beside callbacks, with the hooks that each implements."""
    return [hook_module(plugin) for plugin in plugins.installed(PLUGINS)]


def hook_module(plugin: Plugin) -> dict[str, Any]:
    """What an entry point of a module leads to, for a program."""
    if plugin.disabled:
        return {**origin(plugin), "status": "disabled", "reason": f"{plugins.DISABLE} leaves it out"}
    try:
        with quiet():
            preview([plugin.name])  # which imports it, and holds it to the hooks there are
            names = sorted(name for name, value in vars(plugin.load()).items() if hasattr(value, "treadle_impl"))
    except TreadleError as error:
        return {**origin(plugin), "status": "broken", "reason": first_line(error)}
    return {**origin(plugin), "status": "usable", "reason": "", "handles": names}


def origin(plugin: Plugin) -> dict[str, str]:
    """Where a plugin comes from."""
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "value": plugin.value,
        "core": plugin.core,
    }


def declarations(callback: Callback) -> dict[str, Any]:
    """What a callback declares."""
    return {
        "example": repr(callback).strip("<>"),
        "reads": sorted(accesses(callback, Read)),
        "writes": sorted(accesses(callback, Write)),
        "run_after": run_after(callback),
        "handles": handled(callback),
    }


def class_declarations(cls: type[Callback]) -> dict[str, Any]:
    """What the callbacks of a class declare whatever their arguments are; None in place of what depends on them."""
    access = class_access(cls)
    return {
        "example": "",
        "reads": None if access is None else sorted(path for path, mode in access.items() if mode is Read),
        "writes": None if access is None else sorted(path for path, mode in access.items() if mode is Write),
        "run_after": attempt(lambda: run_after(cls.__new__(cls))),
        "handles": attempt(lambda: handled(cls.__new__(cls))),
    }


def class_access(cls: type[Callback]) -> Mapping[str, Any] | None:
    """The `state_access` of a class, or None if a callback's own may differ: a property, or set in a method."""
    access = inspect.getattr_static(cls, "state_access")
    methods = (value for base in cls.__mro__ if base is not Callback for value in vars(base).values())
    if any("state_access" in getattr(getattr(method, "__code__", None), "co_names", ()) for method in methods):
        return None
    return access if isinstance(access, Mapping) else None


def attempt(ask: Callable[[], T]) -> T | None:
    """What a callback says that was made without its arguments, or None if it needs them for that."""
    try:
        return ask()
    except Exception:
        return None


def run_after(callback: Callback) -> list[str]:
    """The names of what a callback runs after."""
    return [entry if isinstance(entry, str) else entry.__name__ for entry in callback.run_after]


def handled(callback: Callback) -> list[dict[str, Any]]:
    """The events and operations of a callback, how each is handled, and in which phases: none stands for all."""
    return [
        {
            "hook": name,
            "how": "handles" if name.startswith("on_") else "wraps" if handler.wrapper else "overrides",
            "phases": [phase.__name__ for phase in handler.phases if phase is not Phase],
        }
        for name, handler in handlers(callback).items()
    ]


def first_line(error: BaseException) -> str:
    """The first line of a message, or the type of an error that has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While a plugin is imported or called: what it prints is not the command's output, and nothing is logged."""
    from loguru import logger

    logger.disable("")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logger.enable("")
