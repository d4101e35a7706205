"""`ReadOnly`: a mapping of the learner's state, as those see it who declared `Read`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from treadle.errors import ProtectedException
from treadle.gradients import Gradients
from treadle.propdict import PropDict, missing, named

#: What a reader gets a view of instead of the thing itself.
VIEWED = frozenset({PropDict, Gradients})


class ReadOnly(Mapping[str, Any]):
    """A mapping of state as somebody sees it who may read all of it and write nothing.

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
            raise ProtectedException(
                f"`{self._path}` was declared `Read`, so `{self._path}.{name}(...)` cannot be called. "
                f'Add to state_access: "{self._path}": Write'
            )
        raise AttributeError(missing(name, self._target), name=name)

    def __getitem__(self, name: str) -> Any:
        return readable(self._target[name], f"{self._path}.{name}")

    def __reduce__(self) -> tuple[type[PropDict], tuple[dict[str, Any]]]:
        """A copy is a `PropDict` of the reader's own."""
        return PropDict, (dict(named(self._target)),)

    def __setattr__(self, name: str, value: Any) -> None:
        raise ProtectedException(
            f"`{self._path}` was declared `Read`, so `{self._path}.{name}` cannot be written. "
            f'Add to state_access: "{self._path}.{name}": Write'
        )

    __setitem__ = __setattr__

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    __delitem__ = __delattr__

    def __contains__(self, name: object) -> bool:
        return name in self._target

    def __iter__(self) -> Iterator[str]:
        return iter(self._target)

    def __len__(self) -> int:
        return len(self._target)

    def __repr__(self) -> str:
        return f"ReadOnly({self._target!r})"


def readable(value: Any, path: str) -> Any:
    """The value, as a reader may have it."""
    return ReadOnly(value, path) if type(value) in VIEWED else value
