"""The attributes of an object: those in its dictionary, those in slots, and the variables of closures."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

Result = TypeVar("Result")


def by_class(function: Callable[[Any], Result]) -> Callable[[Any], Result]:
    """A function of a class, or of a function's code, that remembers what it returned."""
    return lru_cache(maxsize=4096)(function)


def attributes_of(value: Any) -> list[tuple[str, Any]]:
    """The attributes and the slots of an object, without entering any code of its author."""
    found = list((attribute_dict(value) or {}).items())
    for name, slot in slots_of(type(value)):
        try:
            found.append((name, slot.__get__(value)))
        except AttributeError:  # it is not set
            continue
    return found


def attribute_dict(value: Any) -> dict[str, Any] | None:
    """The dictionary of an object's attributes, or None."""
    try:
        attributes = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return attributes if isinstance(attributes, dict) else None


@by_class
def slots_of(cls: type) -> tuple[tuple[str, Any], ...]:
    """The slots of a class; in C as well, so that those of a partial function and a bound method are among them."""
    if cls in (types.FunctionType, types.CellType):
        return ()
    return tuple(
        (name, value)
        for base in cls.__mro__
        for name, value in vars(base).items()
        if isinstance(value, types.MemberDescriptorType) and (name[:2] != "__" or name in ("__self__", "__func__"))
    )


def cell_content(cell: types.CellType) -> list[Any]:
    """What a variable of a closure holds; nothing if it is not set."""
    try:
        return [cell.cell_contents]
    except ValueError:
        return []
