"""`treadle plugins`: every callback and hook module that is installed, and what it declares."""

from __future__ import annotations

from typing import Any

import typer

from treadle_cli.found import DEPENDS, callbacks, hook_modules
from treadle_cli.output import print_json, print_table

COLUMNS = ("callback", "distribution", "reads", "writes", "runs after", "handles")


def plugins(as_json: bool) -> None:
    """List them; the exit status is 1 if one is broken."""
    found = [callback.as_dict() for callback in callbacks()]
    modules = hook_modules()
    if as_json:
        print_json({"callbacks": found, "modules": modules})
    else:
        show(found, modules)
    if any(plugin["status"] == "broken" for plugin in (*found, *modules)):
        raise typer.Exit(1)


def show(found: list[dict[str, Any]], modules: list[dict[str, Any]]) -> None:
    """Print what can be used, and then, with its reason, what cannot."""
    if not found and not modules:
        print("No plugins are installed.\nFix: install some, such as the standard ones:\n    pip install treadle")
        return
    print_table(COLUMNS, [row(plugin) for plugin in found if plugin["status"] == "usable"])
    usable = [module for module in modules if module["status"] == "usable"]
    if usable:
        print()
        print_table(
            ("module", "distribution", "implements"),
            [(module["name"], source(module), ", ".join(module["handles"])) for module in usable],
        )
    for plugin in (*found, *modules):
        if plugin["reason"]:
            status = "not made" if plugin["status"] == "usable" else plugin["status"]
            print(f"\n{status}: {plugin['name']} ({source(plugin)}): {plugin['reason']}")


def row(plugin: dict[str, Any]) -> tuple[str, ...]:
    """A callback's row."""
    handled = None if plugin["handles"] is None else [handler["hook"] for handler in plugin["handles"]]
    declared = (plugin["reads"], plugin["writes"], plugin["run_after"], handled)
    return plugin["name"], source(plugin), *map(listed, declared)


def source(plugin: dict[str, Any]) -> str:
    """The distribution of a plugin, with its version."""
    return f"{plugin['distribution']} {plugin['version']}"


def listed(names: list[str] | None) -> str:
    """Names as a cell of the table."""
    return DEPENDS if names is None else ", ".join(names) or "-"
