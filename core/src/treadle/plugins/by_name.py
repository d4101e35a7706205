"""Installed callbacks by the names of their entry points: made without arguments, or with some."""

from __future__ import annotations

import inspect
from typing import Any

from treadle.callback import Callback
from treadle.errors import CallbackError, did_you_mean
from treadle.plugins.discovery import load


def make(name: str, /, **arguments: Any) -> Callback:
    """An installed callback, by the name of its entry point; for what is read from a file or a command line.

    Args:
        name: The entry point's name, as `plugins.installed("treadle.callbacks")` lists it.
        **arguments: Those of the class.

    Raises:
        PluginError: if there is no such plugin, or it cannot be used; the reason is its cause.
        CallbackError: if the class does not take these arguments.

    Example:
        >>> from treadle import plugins
        >>> plugins.make("acme_of_nobody", size=3)
        Traceback (most recent call last):
        ...
        treadle.errors.PluginError: There is no plugin called 'acme_of_nobody' installed. ...
        Fix: correct the name, or install the distribution that has it.
    """
    cls = load(name)
    try:
        inspect.signature(cls).bind(**arguments)
    except TypeError as error:
        bare = inspect.Parameter.empty
        parameters = {name: p.replace(annotation=bare) for name, p in inspect.signature(cls).parameters.items()}
        unknown = [argument for argument in arguments if argument not in parameters]
        guess = f" {did_you_mean(unknown[0], parameters)}" if unknown and parameters else ""
        raise CallbackError(
            f"{name!r} cannot be made with these arguments: {error}.{guess}\n"
            f"Fix: pass those that {cls.__name__} takes:\n    {cls.__name__}{inspect.Signature([*parameters.values()])}"
        ) from None
    return cls(**arguments)


def made_by_name(name: str) -> Callback:
    """A callback of the class that is installed under a name, for a list of callbacks."""
    cls = load(name)
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise CallbackError(
            f"{name!r} cannot be used by its name alone, since {cls.__name__} needs arguments ({error}).\n"
            f"Fix: make it:\n    from {cls.__module__} import {cls.__name__}\n    callbacks=[{cls.__name__}(...)]"
        ) from None
    return cls()
