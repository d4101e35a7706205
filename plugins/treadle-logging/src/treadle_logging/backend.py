"""`LoggerBackend`: a place that loggables are written to; and `log_to`, which writes one by hand."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from loguru import logger
from treadle import TreadleError
from treadle.authoring import instance_of, list_of, whole_number
from treadle.errors import ArgumentValueError

from treadle_logging.loggable import Loggable, text
from treadle_logging.outlet import Outlet


class UnsupportedLoggable(TreadleError, TypeError):
    """A backend cannot take this loggable; raised by `LoggerBackend.log`, and reported once as a warning."""


class BackendClosedError(TreadleError, ValueError):
    """A backend was used after its `close()`."""


class LogChangedError(TreadleError, OSError):
    """A log is not, or not any more, what a run wrote to it."""


class LoggerBackend(ABC):
    """A place that loggables are written to. A subclass implements `log` and, as needed, `flush` and `close`.

    Several callbacks may share one backend, also when they run in threads: calls come one at a time.

    A log of which an end can be cut off also implements `position` and `rewind`. Then a checkpoint keeps the position,
    and in a resumed run everything that was logged after the checkpoint is cut off, so that it is logged once.

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
    _outlet: Outlet

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # Not in __init__, which a subclass may define without calling this one.
        self = super().__new__(cls)
        self.lock = threading.RLock()
        self._refused = set()
        self._outlet = Outlet()
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
        """Flush, and close files and connections. Default: `flush`."""
        self.flush()

    def position(self) -> Any:
        """Bring what was logged to the disk, and return where the log ends. Default: None, it is not known.

        Returns:
            Plain values (numbers, texts, lists, dictionaries) from which `rewind` finds the place in another process.
        """
        return None

    def rewind(self, position: Any) -> None:
        """Cut off everything that was logged after a position. Called only with what `position` returned.

        Raises:
            LogChangedError: if the log does not begin with what it held then; it is left as it is.
        """
        raise NotImplementedError(f"{type(self).__name__} has `position` and no `rewind`.")

    def supports(self, loggable: Loggable) -> bool:
        """Whether `log` takes this loggable, judged by its kind."""
        return isinstance(loggable, self.supported)

    @staticmethod
    def tag(name: str, group: tuple[str, ...]) -> str:
        """The groups and the name, joined by `/`."""
        return "/".join((*group, name))

    def receive(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
        """Log a loggable if that is possible, and otherwise warn, once for each kind."""
        with self.lock:
            self._outlet.position = None
            try:
                if self.supports(loggable):
                    self.log(loggable, name, i, group)
                    return
                reason = f"It takes: {', '.join(kind.__name__ for kind in self.supported)}."
            except UnsupportedLoggable as error:
                reason = str(error)
            kind = type(loggable)
            if kind not in self._refused:
                self._refused.add(kind)
                logger.warning(
                    f"{type(self).__name__} does not support {kind.__name__}, so {self.tag(name, group)!r} and "
                    f"others of its kind are not logged there. {reason}"
                )

    def __repr__(self) -> str:
        return type(self).__name__

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class NullBackend(LoggerBackend):
    """A backend that drops everything, for callbacks of which only the declarations are looked at."""

    def log(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
        """Do nothing."""


def log_to(
    backends: LoggerBackend | Iterable[LoggerBackend],
    loggable: Loggable,
    name: str,
    i: int,
    group: str | Iterable[str] = (),
) -> None:
    """Write a loggable to one or several backends.

    A backend that does not support it warns the first time; one that fails raises.

    Args:
        name: What it is, within its group.
        i: The iteration it belongs to.
        group: The group it stands in, or several, outermost first. Default: none.

    Raises:
        ArgumentTypeError: for an argument of the wrong type.
        ArgumentValueError: without a backend, or for an empty name or group.

    Example:
        >>> from pathlib import Path
        >>> from treadle_logging import CSVBackend, Value
        >>> with CSVBackend("log.csv") as backend:
        ...     log_to(backend, Value(0.25), "Loss", 3, group=("Step", "Metrics"))
        >>> print(Path("log.csv").read_text())
        tag,iteration,value
        Step/Metrics/Loss,3,0.25
    """
    instance_of(loggable, "log_to(loggable)", Loggable, 'log_to(backend, Value(0.5), "Loss", 1)')
    example = 'log_to(backend, value, "Loss", 1, group="Step")'
    i = whole_number(i, "log_to(i)", example)
    if abs(i) >= 2**63:
        raise ArgumentValueError(
            f"log_to(i) has an invalid value: {i:.3e}.\nFix: pass a number of 64 bits:\n    {example}"
        )
    groups = (group,) if isinstance(group, str) else list_of(group, "log_to(group)", str, example)
    for part in (text(name, "log_to(name)", example), *(text(part, "log_to(group)", example) for part in groups)):
        if not part:
            raise ArgumentValueError(
                f"log_to got an empty name.\nFix: pass a name and a group that say what it is:\n    {example}"
            )
    for backend in as_backends(backends, "log_to"):
        backend._outlet.write(backend)
        backend.receive(loggable, name, i, groups)


def as_backends(backends: LoggerBackend | Iterable[LoggerBackend], owner: str) -> tuple[LoggerBackend, ...]:
    """One or several backends as a tuple.

    Args:
        owner: Whose argument they are, for the message.

    Raises:
        ArgumentTypeError: if one is not a backend.
        ArgumentValueError: if there are none, or one is there twice.
    """
    example = f'{owner}(CSVBackend("log.csv"), ...)'
    one = isinstance(backends, LoggerBackend | str) or not isinstance(backends, Iterable)
    several = list_of((backends,) if one else backends, f"{owner}(backends)", LoggerBackend, example)  # type: ignore[type-abstract]
    if not several:
        raise ArgumentValueError(f"{owner} has no backend.\nFix: pass one or several:\n    {example}")
    for i, backend in enumerate(several):
        if any(backend is other for other in several[:i]):
            raise ArgumentValueError(
                f"{owner} got {backend!r} twice, and would log twice.\nFix: pass it once:\n    {example}"
            )
    return several


@contextmanager
def path_errors(owner: str, path: Path, example: str) -> Iterator[None]:
    """Raise what the system says of a path as an `ArgumentValueError`.

    Args:
        owner: Whose path it is, for the message.
        example: A path that would do.
    """
    try:
        yield
    except TreadleError:
        raise
    except (OSError, ValueError) as error:
        raise ArgumentValueError(
            f"{owner} cannot write to {str(path)!r}: {getattr(error, 'strerror', None) or error}.\n"
            f"Fix: choose a place that you may write to, for example:\n    {owner}({example!r})"
        ) from error
