"""A view of the learner that notes what a callback does with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from treadle.access import Permission, Write, overlaps
from treadle.state.views import View


class Record:
    """What a callback did with the paths that it declares.

    Args:
        declared: Its `state_access`.

    Attributes:
        read: The paths that it looked at.
        written: The paths that it set, or of which something was changed while it ran.
        ran: The names of its handlers that were called.
    """

    def __init__(self, declared: dict[str, type[Permission]]) -> None:
        self.declared = declared
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.ran: set[str] = set()

    def unused(self) -> dict[str, str]:
        """The declared paths that were not used as declared, each with what should be done about it."""
        found = {}
        for path, permission in self.declared.items():
            if permission is Write and not any(overlaps(path, other) for other in self.written):
                used = any(below(other, path) for other in self.read)
                found[path] = "is declared `Write` and only read: declare it `Read`" if used else NEVER
            elif permission is not Write and not any(below(other, path) for other in self.read):
                found[path] = NEVER
        return found


NEVER = "is declared and was not used: take it out"


def below(path: str, top: str) -> bool:
    """Whether a path is another one or leads further down from it."""
    return path == top or path.startswith(f"{top}.")


class RecordingView:
    """A view of the learner that notes each access to it, and of its parts.

    Args:
        view: The view that a callback has.
        record: Where to note.
        path: What part of the learner it stands for. Default: all of it.
    """

    __slots__ = ("_path", "_record", "_view")

    def __init__(self, view: Any, record: Record, path: str = "") -> None:
        object.__setattr__(self, "_view", view)
        object.__setattr__(self, "_record", record)
        object.__setattr__(self, "_path", path)

    def _of(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _seen(self, name: str, value: Any) -> Any:
        if isinstance(value, View):
            return RecordingView(value, self._record, self._of(name))
        self._record.read.add(self._of(name))
        return value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            return getattr(self._view, name)
        return self._seen(name, getattr(self._view, name))

    def __getitem__(self, name: str) -> Any:
        return self._seen(name, self._view[name])

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._view, name, value)
        self._record.written.add(self._of(name))

    def __setitem__(self, name: str, value: Any) -> None:
        self._view[name] = value
        self._record.written.add(self._of(name))

    def __delattr__(self, name: str) -> None:
        delattr(self._view, name)
        self._record.written.add(self._of(name))

    def __delitem__(self, name: str) -> None:
        del self._view[name]
        self._record.written.add(self._of(name))

    def __contains__(self, name: str) -> bool:
        self._record.read.add(self._of(name))
        return name in self._view

    def __iter__(self) -> Iterator[str]:
        self._record.read.add(self._path)
        return iter(self._view)

    def __repr__(self) -> str:
        return repr(self._view)
