"""How arguments are shown: an invalid one in a message, and those that an object was made with in its `repr`."""

from __future__ import annotations

import inspect
import os
import reprlib
from typing import Any


def shown_value(value: Any) -> str:
    """An invalid value, in a message."""
    shown = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
    return shown if len(shown) <= 100 else f"{shown[:100]}..."


def shown_arguments(owner: object) -> str:
    """The arguments of an object's `__init__` that differ from their defaults, in brackets; empty if none does.

    An argument is found as the attribute of its name, and left out where there is none. So are `name`, which is shown
    in front of the bracket, and `state_access`, which is a declaration.

    Example:
        >>> from treadle import FrequencyThrottle, StepEnd
        >>> shown_arguments(FrequencyThrottle(10, StepEnd))
        '(10, StepEnd)'
    """
    shown: list[str] = []
    for name, parameter in inspect.signature(type(owner).__init__).parameters.items():
        default = parameter.default
        value = getattr(owner, name, default)
        if name in ("name", "state_access") or value is default:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            shown += map(SHORT.repr, value)
        elif parameter.kind is parameter.VAR_KEYWORD:
            shown += [f"{key}={SHORT.repr(entry)}" for key, entry in value.items()]
        elif default is parameter.empty:
            shown.append(SHORT.repr(value))
        elif not (type(value) is type(default) and value == default):
            shown.append(f"{name}={SHORT.repr(value)}")
    return f"({', '.join(shown)})" if shown else ""


class Short(reprlib.Repr):
    """Shows a value in short: classes and functions by their names, and what has no `__repr__` by its class's."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80

    def repr_instance(self, x: Any, level: int) -> str:
        if isinstance(x, type) or inspect.isroutine(x):
            return x.__name__
        if isinstance(x, os.PathLike):
            return repr(os.fspath(x))
        if type(x).__repr__ is vars(object)["__repr__"]:
            return type(x).__name__
        return " ".join(super().repr_instance(x, level).split())


SHORT = Short()
