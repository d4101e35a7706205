"""`Outlet`: what waits to be written to a backend, and where its log goes on when a run is resumed."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from treadle import Series

from treadle_logging.loggable import Loggable, Value

if TYPE_CHECKING:
    from treadle_logging.backend import LoggerBackend
    from treadle_logging.logger import Logger

Groups = tuple[str, ...]

#: What is logged: a loggable, its name, its iteration and its groups.
Entry = tuple[Loggable, str, int, Groups]

#: What is going to be: of a series, the index of the value stands where an entry has its iteration.
Noted = tuple[Loggable | Series, str, int, Groups]


class Outlet:
    """What the loggers of one backend have for it, in the order in which they noted it.

    They share it, so that the order of a log does not depend on when it is written.
    """

    def __init__(self) -> None:
        self.waiting: deque[tuple[Logger, Noted]] = deque()
        self.position: Any = None  # where the log was cut, if nothing was written since
        self._resumption: tuple[Logger, Any] | None = None

    def write(self, backend: LoggerBackend) -> None:
        """Write what waits; first cut the log of a resumed run."""
        with backend.lock:
            self._cut(backend)
            while self.waiting:
                owner, noted = self.waiting.popleft()  # before it is written, so that it is not written twice
                entry = resolved(noted)
                if entry is not None:
                    owner.deliver(backend, entry)

    def resume(self, owner: Logger, position: Any) -> None:
        """Go on from a position that the backend returned, as soon as something is written or a fit begins.

        Not before: until then a resumption can be refused, and its log is to be whole.
        """
        self.waiting.clear()
        self._resumption = (owner, position)

    def position_of(self, backend: LoggerBackend, owner: Logger) -> Any:
        """Write what waits and return where the log stands; None if the backend does not know, or failed."""
        with backend.lock:
            if self._resumption is not None and not self.waiting:
                return self._resumption[1]
            self.write(backend)
            return owner.attempt(backend, "position", "write everything to", backend.position)

    def _cut(self, backend: LoggerBackend) -> None:
        if self._resumption is not None:
            (owner, position), self._resumption = self._resumption, None
            if position != self.position:
                owner.attempt(backend, "rewind", "go on with the log of", lambda: backend.rewind(position))
                self.position = position


def resolved(noted: Noted) -> Entry | None:
    """What was noted as an entry; None if a series was cut back since and has lost the value."""
    loggable, name, i, group = noted
    if not isinstance(loggable, Series):
        return loggable, name, i, group
    if i >= len(loggable):
        return None
    return Value(loggable.values[i]), name, loggable.iterations[i], group
