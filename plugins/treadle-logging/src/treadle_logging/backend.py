"""`LoggerBackend`: a place that loggables are written to."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, ClassVar, Self

from loguru import logger

from treadle_logging.errors import UnsupportedLoggable
from treadle_logging.loggable import Loggable


class LoggerBackend(ABC):
    """A place that loggables are written to. A subclass needs `log`, and what else it can do.

    Several callbacks may share one backend, also when they run in threads: calls come one at a time.

    Attributes:
        supported: The kinds of loggable that `log` takes. Default: all; `log` may then still raise
            `UnsupportedLoggable`.
        lock: Held while the backend is in use.

    Example:
        >>> from treadle_logging import Value, log_to
        >>> class Lines(LoggerBackend):
        ...     supported = (Value,)
        ...     def log(self, loggable, name, i, group):
        ...         print(i, self.tag(name, group), loggable.number)
        >>> log_to(Lines(), Value(0.5), "Loss", 1, group=("Step", "Metrics"))
        1 Step/Metrics/Loss 0.5
    """

    supported: ClassVar[tuple[type[Loggable], ...]] = (Loggable,)

    lock: threading.RLock
    _refused: set[type[Loggable]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Not in __init__: a subclass with one of its own need not think of this.
        self = super().__new__(cls)
        self.lock = threading.RLock()
        self._refused = set()
        return self

    @abstractmethod
    def log(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
        """Write a loggable.

        Args:
            loggable: What to write; of one of the `supported` kinds.
            name: What it is, within its group.
            i: The iteration it belongs to; counted within each group and name.
            group: The groups it stands in, outermost first.

        Raises:
            UnsupportedLoggable: if it cannot be written here, whatever is tried.
        """

    def flush(self) -> None:  # noqa: B027 - a backend without a buffer has nothing to do here
        """Bring what was logged to where others can read it. Default: nothing to do."""

    def close(self) -> None:
        """Flush and let go of files and connections. Default: `flush`."""
        self.flush()

    def supports(self, loggable: Loggable) -> bool:
        """Whether `log` takes this loggable, judged by its kind."""
        return isinstance(loggable, self.supported)

    @staticmethod
    def tag(name: str, group: tuple[str, ...]) -> str:
        """The groups and the name, joined by `/`."""
        return "/".join((*group, name))

    def receive(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
        """Log a loggable if that is possible, and otherwise say so, once for each kind."""
        with self.lock:
            try:
                if self.supports(loggable):
                    self.log(loggable, name, i, group)
                    return
                reason = f"It takes: {', '.join(kind.__name__ for kind in self.supported)}."
            except UnsupportedLoggable as refusal:
                reason = str(refusal)
            kind = type(loggable)
            if kind not in self._refused:
                self._refused.add(kind)
                logger.warning(
                    f"{type(self).__name__} does not support {kind.__name__}, so {self.tag(name, group)!r} and "
                    f"others of its kind are not logged there. {reason}"
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
