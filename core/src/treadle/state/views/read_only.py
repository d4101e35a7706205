"""What a reader gets instead of an object that has to stay as it is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from treadle.errors import ProtectedException
from treadle.state.gradients import Gradients
from treadle.state.propdict import PropDict, missing, named

#: The types that a reader gets a `ReadOnly` of; of anything else the thing itself.
VIEWED = frozenset({PropDict, Gradients})


def read_only(value: Any, path: str) -> Any:
    """The value, as a callback may have it that declares `Read` for this path."""
    return ReadOnly(value, path) if type(value) in VIEWED else value


class ReadOnly(Mapping[str, Any]):
    """A mapping of state for a callback that may read all of it and write nothing.

    Args:
        target: What is looked at; later changes of it show.
        path: Where it stands in the learner, for the error message.
    """

    __slots__ = ("_path", "_target")

    def __init__(self, target: PropDict | Gradients, path: str) -> None:
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "_path", path)

    def __getattr__(self, name: str) -> Any:
        if name in ReadOnly.__slots__:  # not set yet, while a copy is being made
            raise AttributeError(name)
        if name in self._target:
            return self[name]
        if hasattr(PropDict, name):  # `update`, `pop` and the like
            raise self._refusal(f"`{self._path}.{name}(...)` cannot be called", self._path)
        raise AttributeError(missing(name, self._target), name=name)

    def __getitem__(self, name: str) -> Any:
        return read_only(self._target[name], f"{self._path}.{name}")

    def __setattr__(self, name: str, value: Any = None) -> None:
        path = f"{self._path}.{name}"
        raise self._refusal(f"`{path}` cannot be written", path)

    __setitem__ = __setattr__
    __delattr__ = __delitem__ = __setattr__

    def __contains__(self, name: object) -> bool:
        return name in self._target

    def __iter__(self) -> Iterator[str]:
        return iter(self._target)

    def __len__(self) -> int:
        return len(self._target)

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *self})

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # what `vars` looks for
        return dict(self)

    def __reduce__(self) -> tuple[type[PropDict], tuple[dict[str, Any]]]:
        """A copy is a `PropDict` of the reader's own."""
        return PropDict, (dict(named(self._target)),)

    def __repr__(self) -> str:
        return f"ReadOnly({self._target!r})"

    def _refusal(self, what: str, path: str) -> ProtectedException:
        return ProtectedException(
            f'`{self._path}` was declared `Read`, so {what}.\nFix: add to state_access:\n    "{path}": Write',
            path,
            "Write",
        )


class ReadOnlyObject:
    """An object whose slots can be read and not written; `read_only_object` makes one."""

    __slots__ = ("_refusal", "_target")

    _refusal: str
    _target: Any

    def __init__(self, target: Any, refusal: str) -> None:
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "_refusal", refusal)

    def __setattr__(self, name: str, value: Any = None) -> None:
        raise ProtectedException(self._refusal)

    __delattr__ = __setattr__

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # what `vars` looks for
        return {name: getattr(self, name) for name in type(self._target).__slots__}

    def __reduce__(self) -> tuple[Callable[..., ReadOnlyObject], tuple[Any, str]]:
        return read_only_object, (self._target, self._refusal)

    def __repr__(self) -> str:
        return repr(self._target)


def read_only_object(target: Any, refusal: str) -> ReadOnlyObject:
    """An object to be read only.

    Args:
        target: The object, of a class with slots.
        refusal: The message for those who write.
    """
    kind: Any = type(target)
    return read_only_class(kind)(target, refusal)


@functools.cache
def read_only_class(kind: Any) -> type[ReadOnlyObject]:
    """The class for objects of a kind. Reading a slot enters no Python function: handlers do it in each step."""
    slots = {name: property(attrgetter(f"_target.{name}")) for name in kind.__slots__}
    return type(f"ReadOnly{kind.__name__}", (ReadOnlyObject,), {"__slots__": (), **slots})
