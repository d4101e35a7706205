"""`Logger`: what the logging callbacks share; `StepLogger` logs in a step, `SeriesLogger` later, what was recorded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from loguru import logger
from treadle import Callback, Learner, Phase, Series
from treadle.authoring import real_number, whole_number
from treadle.errors import FitException

from treadle_logging.backend import LoggerBackend, as_backends
from treadle_logging.loggable import Loggable, Value

Groups = tuple[str, ...]

#: What is logged: a loggable, its name, its iteration and its groups.
Entry = tuple[Loggable, str, int, Groups]

#: After this many failures in a row a backend is not used for the rest of the fit.
PATIENCE = 3


class Logger(Callback):
    """A callback that logs to backends, and whose training goes on when one of them fails.

    A failure is reported once in a warning; what was to be logged then is lost for that backend
    only. After three failures in a row the backend is not used until the next fit begins.

    Args:
        *backends: Where to log.
        strict: Whether a backend that fails ends the training. Default: False.

    Raises:
        ArgumentTypeError: if a backend is not one.
        ArgumentValueError: without a backend.
    """

    def __init__(self, *backends: LoggerBackend, strict: bool = False) -> None:
        self.backends = as_backends(backends, self.name)
        self.strict = strict
        self._failures: Counter[tuple[int, str]] = Counter()  # in a row, of a backend's "log" and "flush"
        self._reported: set[int] = set()

    def on_fit_begin(self) -> None:
        self._failures.clear()
        self._reported.clear()

    def on_epoch_end(self, learner: Learner, phase: Phase) -> None:
        self.flush()

    def on_fit_end(self) -> None:
        self.flush()

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
        self._attempt("flush", lambda backend: backend.flush())

    def _attempt(self, what: str, action: Callable[[LoggerBackend], None]) -> None:
        for backend in self.backends:
            if any(self._failures[id(backend), kind] >= PATIENCE for kind in ("log", "flush")):
                continue
            try:
                with backend.lock:
                    action(backend)
            except FitException:  # a request to stop is not a failure
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
                f"{self.name} could not {what} to {name}: {type(error).__name__}: {error}. "
                f"Training goes on; {self.name}(..., strict=True) would raise this."
            )
        if self._failures[key, what] >= PATIENCE:
            logger.warning(
                f"{self.name} stops logging to {name} for the rest of this fit: it failed {PATIENCE} times in a row."
            )


class StepLogger(Logger):
    """A logger that looks at steps 1, freq + 1, 2 * freq + 1 and so on, as the history counts them.

    Unlike a throttle's count this one needs no state: a resumed run goes on where the history does.

    Args:
        freq: Every how many steps, beginning with the first; None means every step. Default: 100.

    Example:
        >>> from treadle_logging import CSVBackend
        >>> logger = StepLogger(CSVBackend("log.csv"), freq=4)
        >>> [step for step in range(1, 11) if logger.is_due(step)]
        [1, 5, 9]
    """

    def __init__(self, *backends: LoggerBackend, freq: int | None = 100, strict: bool = False) -> None:
        super().__init__(*backends, strict=strict)
        example = f"{self.name}(..., freq=100), or freq=None for every step"
        self.freq = 1 if freq is None else whole_number(freq, f"{self.name}(freq)", example, least=1)

    def is_due(self, steps: int) -> bool:
        """Whether to log at this step, counted from 1."""
        return (steps - 1) % self.freq == 0


class SeriesLogger(Logger):
    """Log the newest values of recorded series, late and in blocks, so that no step waits for a device.

    A step only notes which values are new. They are read and written when `block` values have come
    together, when `seconds` have passed, at the end of every epoch and at the end of the fit,
    however it ends. Values that were recorded before the callback was there are not logged.

    Args:
        block: Maximum number of values that are held back. Default: 1000.
        seconds: Maximum time for which they are held back. Default: 10.
    """

    def __init__(
        self, *backends: LoggerBackend, block: int = 1000, seconds: float = 10.0, strict: bool = False
    ) -> None:
        super().__init__(*backends, strict=strict)
        self.block = whole_number(block, f"{self.name}(block)", f"{self.name}(backend, block=1000)", least=1)
        self.seconds = real_number(seconds, f"{self.name}(seconds)", f"{self.name}(backend, seconds=10)", least=0)
        self._seen: dict[tuple[Groups, str], int] = {}
        self._noted: list[tuple[Series, int, str, Groups]] = []
        self._since = time.monotonic()

    def note(self, series: Mapping[str, Series], group: Groups) -> None:
        """Note the newest value of each series if it was not logged yet, and write if it is time to."""
        for name, values in series.items():
            count = len(values)
            key = (group, name)
            if count != self._seen.get(key, 0):
                self._seen[key] = count
                if count:
                    self._noted.append((values, count - 1, name, group))
        if self._noted and (len(self._noted) >= self.block or time.monotonic() - self._since >= self.seconds):
            self.write()

    def write(self) -> None:
        """Write what was noted."""
        noted, self._noted = self._noted, []
        self._since = time.monotonic()
        self.send(
            (Value(series.values[index]), name, series.iterations[index], group)
            for series, index, name, group in noted
            if index < len(series)  # otherwise it was cut back and has lost the value
        )

    def flush(self) -> None:
        """Write what was noted, and flush the backends."""
        self.write()
        super().flush()
