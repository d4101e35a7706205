"""Callbacks by what is written on the command line: `metrics`, `ema:decay=0.9`, `checkpointer:folder=runs`."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

from treadle import Callback, TreadleError, plugins
from treadle.plugins import CALLBACKS, PLUGINS

from treadle_cli.output import fail

#: Where one argument ends: at a comma that another one follows.
COMMA = re.compile(r",(?=\s*\w+\s*=)")


def named(text: str) -> Callback | str:
    """The callback that a text names, made with the arguments that it has; or the name of a hook module."""
    name, _, written = text.partition(":")
    if name in {plugin.name for plugin in plugins.installed(PLUGINS)} - callback_names():
        return name
    try:
        plugin = plugins.find(name, CALLBACKS)
    except TreadleError as error:
        fail(f"{error}\nTo see those that are installed:\n    treadle plugins")
    try:
        cls = plugin.load()
    except TreadleError as error:
        fail(str(error), 2 if plugin.disabled else 1)
    arguments = parsed(written, name, cls)
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        fail(f"{name!r} cannot be made with these arguments: {error}.\nFix: {needs(name, cls)}")
    try:
        return plugins.make(name, **arguments)
    except TreadleError as error:
        fail(f"{name!r} cannot be made: {error}\nOn the command line: {needs(name, cls)}")
    except Exception as error:
        fail(f"{name!r} cannot be made: {cls.__name__} raises {type(error).__name__}: {error}", 2 if arguments else 1)


def callback_names() -> set[str]:
    """The names of the callbacks that are installed."""
    return {plugin.name for plugin in plugins.installed(CALLBACKS)}


def parsed(written: str, name: str, cls: type[Callback]) -> dict[str, Any]:
    """The arguments in `decay=0.9,every=10`: Python's literals, and what is none of them as text."""
    arguments: dict[str, Any] = {}
    for argument in filter(None, COMMA.split(written)):
        key, sign, value = (part.strip() for part in argument.partition("="))
        if not sign or not key.isidentifier():
            fail(f"{argument!r}, an argument of {name!r}, is not of the form name=value.\nFix: {needs(name, cls)}")
        if key in arguments:
            fail(f"{name!r} has the argument `{key}` twice.\nFix: write it once.")
        try:
            arguments[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            arguments[key] = value
    return arguments


def needs(name: str, cls: type[Callback]) -> str:
    """How a callback is written with the arguments that its class takes."""
    parameters = [
        parameter.replace(annotation=parameter.empty) for parameter in inspect.signature(cls).parameters.values()
    ]
    taken = f"{cls.__name__}{inspect.Signature(parameters)}"
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    first = required or [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL][:1] or ["name"]
    return (
        f"pass the arguments that it takes, {taken}:\n    treadle plan {name}:{','.join(f'{p}=...' for p in first)}\n"
        f"Where a value cannot be written here, make the learner in a script:\n    treadle plan script.py:learner"
    )
