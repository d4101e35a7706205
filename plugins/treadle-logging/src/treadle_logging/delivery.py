"""`Delivery`: how a logging callback hands over what it saw, without ending the training by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from loguru import logger
from treadle.errors import FitException

from treadle_logging.backend import LoggerBackend
from treadle_logging.log_to import as_backends
from treadle_logging.loggable import Loggable

#: What is logged: a loggable, its name, its iteration and its groups.
Entry = tuple[Loggable, str, int, tuple[str, ...]]

#: So many failures in a row, and a backend is left alone for the rest of the fit.
PATIENCE = 3


class Delivery:
    """The backends of one callback, and what to do when one fails.

    A failure is reported once in a warning; what was to be logged then is lost for that backend
    only. After three failures in a row the backend is left alone, until the next fit begins.

    Args:
        owner: The callback's name, for the messages.
        backends: Where to log.
        strict: Whether a failure is raised instead. Default: False.
    """

    def __init__(self, owner: str, backends: Iterable[LoggerBackend], *, strict: bool = False) -> None:
        self.owner = owner
        self.backends = as_backends(backends, owner)
        self.strict = strict
        self._failures: Counter[tuple[int, str]] = Counter()
        self._reported: set[int] = set()
        self._left_alone: set[int] = set()

    def begin(self) -> None:
        """Give every backend a new chance."""
        self._failures.clear()
        self._reported.clear()
        self._left_alone.clear()

    def send(self, entries: Iterable[Entry]) -> None:
        """Log entries to every backend."""
        entries = list(entries)

        def log(backend: LoggerBackend) -> None:
            for entry in entries:
                backend.receive(*entry)

        if entries:
            self._attempt("log", log)

    def flush(self) -> None:
        """Flush every backend."""

        def flush(backend: LoggerBackend) -> None:
            with backend.lock:
                backend.flush()

        self._attempt("flush", flush)

    def _attempt(self, what: str, action: Callable[[LoggerBackend], None]) -> None:
        for backend in self.backends:
            if id(backend) in self._left_alone:
                continue
            try:
                action(backend)
            except FitException:  # a request to stop is no failure
                raise
            except Exception as error:
                if self.strict:
                    raise
                self._failed(backend, what, error)
            else:
                del self._failures[id(backend), what]

    def _failed(self, backend: LoggerBackend, what: str, error: Exception) -> None:
        key = id(backend)
        name = type(backend).__name__
        self._failures[key, what] += 1
        if key not in self._reported:
            self._reported.add(key)
            logger.warning(
                f"{self.owner} could not {what} to {name}: {type(error).__name__}: {error}. "
                f"Training goes on; {self.owner}(..., strict=True) would raise this."
            )
        if self._failures[key, what] >= PATIENCE:
            self._left_alone.add(key)
            logger.warning(
                f"{self.owner} leaves {name} alone for the rest of this fit: it failed {PATIENCE} times in a row."
            )
