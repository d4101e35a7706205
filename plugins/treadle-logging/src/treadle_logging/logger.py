"""`Logger`: what the logging callbacks share; `StepLogger` logs in a step, `SeriesLogger` later, what was recorded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypeVar

from loguru import logger
from treadle import Callback, Learner, Phase, Series
from treadle.authoring import one_of, phase_label, position_of, real_number, whole_number
from treadle.errors import FitException

from treadle_logging.backend import BackendClosedError, LoggerBackend, NullBackend, as_backends
from treadle_logging.outlet import Entry, Groups

T = TypeVar("T")

#: Errors that an entry is the reason of, such as a number that a backend cannot take.
OF_ENTRY = (TypeError, ValueError, ArithmeticError, LookupError, AssertionError, NotImplementedError)

#: After this many failures in a row a backend is not used for the rest of the fit.
PATIENCE = 3

#: After this many entries in a row that it could not take, neither.
REFUSALS = 100


class Logger(Callback):
    """A callback that logs to backends, and whose training goes on when one of them fails.

    What a backend cannot take is left out, with a warning for each kind of loggable and of error. After three
    failures in a row (a full disk, a lost connection), or a hundred entries in a row that it could not take
    (a TypeError, a ValueError and their like), a backend is not used until the next fit begins.

    A checkpoint keeps where the logs end. In a resumed run, what they hold past the checkpoint is cut off.

    Args:
        *backends: Where to log.
        strict: Whether a backend that fails ends the training. Default: False.

    Raises:
        ArgumentTypeError: if a backend is not one.
        ArgumentValueError: without a backend.
    """

    main_process_only = True
    optional_state = True

    @classmethod
    def example(cls) -> Self:
        return cls(NullBackend())

    def __init__(self, *backends: LoggerBackend, strict: bool = False) -> None:
        self.backends = as_backends(backends, self.name)
        self.strict = one_of(strict, f"{self.name}(strict)", (True, False))
        self._failures: Counter[tuple[int, str]] = Counter()  # in a row, of a backend, by what failed
        self._reported: set[tuple[int, str, type, type]] = set()
        self._began = False

    @property
    def essential(self) -> bool:  # type: ignore[override]
        """Whether its errors end the fit, also where those of other observers are reported: if it is strict."""
        return self.strict

    def on_fit_begin(self) -> None:
        self._began = True
        self._failures.clear()
        self._reported.clear()
        self.write()  # a resumed run cuts its logs before its first step

    def on_epoch_end(self, learner: Learner, phase: Phase) -> None:
        self.flush()

    def on_fit_end(self) -> None:
        self.flush()

    def send(self, entries: Iterable[Entry]) -> None:
        """Log entries to every backend, after what waits already."""
        self._began = True
        for entry in entries:
            for backend in self.backends:
                backend._outlet.waiting.append((self, entry))
        self.write()

    def write(self) -> None:
        """Write what waits."""
        for backend in self.backends:
            backend._outlet.write(backend)

    def flush(self) -> None:
        """Write what waits, and flush every backend."""
        self.write()
        for backend in self.backends:
            self.attempt(backend, "flush", "flush to", backend.flush)

    def deliver(self, backend: LoggerBackend, entry: Entry) -> None:
        """Log one entry to a backend."""
        loggable, name, i, group = entry
        what = f"log {backend.tag(name, group)!r} at {i} to"
        self.attempt(backend, "log", what, lambda: backend.receive(*entry), type(loggable))

    def attempt(
        self, backend: LoggerBackend, kind: str, what: str, action: Callable[[], T], of: type = object
    ) -> T | None:
        """Do something with a backend, unless it has failed too often. An error is reported once for each kind.

        Args:
            kind: What is counted: failures of the same kind in a row.
            what: What is done, for the message.
            of: The kind of loggable.
        """
        key = id(backend)
        if any(self._failures[key, counted] >= most for counted, most in LIMITS.items()):
            return None
        try:
            with backend.lock:
                result = action()
        except FitException:  # a request to stop is not a failure
            raise
        except Exception as error:
            if self.strict:
                raise
            of_entry = kind == "log" and isinstance(error, OF_ENTRY) and not isinstance(error, BackendClosedError)
            self._failed(backend, "entry" if of_entry else kind, what, error, of)
            return None
        for counted in (kind, "entry") if kind == "log" else (kind,):
            del self._failures[key, counted]
        return result

    def _failed(self, backend: LoggerBackend, kind: str, what: str, error: Exception, of: type) -> None:
        key = id(backend)
        reason = f"{type(error).__name__}: {error}"
        self._failures[key, kind] += 1
        if (key, kind, of, type(error)) not in self._reported:
            self._reported.add((key, kind, of, type(error)))
            left_out = "Everything else is logged" if kind in ("log", "entry") else "Training goes on"
            logger.warning(
                f"{self.name} could not {what} {backend!r}: {reason}. "
                f"{left_out}; {self.name}(..., strict=True) would raise this."
            )
        if self._failures[key, kind] == LIMITS.get(kind):
            logger.warning(
                f"{self.name} stops logging to {backend!r} for the rest of this fit: it failed "
                f"{LIMITS[kind]} times in a row, at last with {reason}."
            )

    def state_dict(self) -> dict[str, Any]:
        """Where the logs end, once a fit has begun; what waits is written first."""
        if not self._began:
            return {}
        positions = [backend._outlet.position_of(backend, self) for backend in self.backends]
        names = [type(backend).__name__ for backend in self.backends]
        return {"logs": [list(log) for log in zip(names, positions, strict=True)]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the logs ended; a backend takes the first position of one of its class that is left."""
        self._began = bool(state)
        logs = [(name, position) for name, position in state.get("logs", ())]
        for backend in self.backends:
            name = type(backend).__name__
            position = next((position for other, position in logs if other == name), None)
            if (name, position) in logs:
                logs.remove((name, position))
            if position is not None:
                backend._outlet.resume(self, position)


#: The maximum number of failures of a kind in a row.
LIMITS = {"log": PATIENCE, "entry": REFUSALS, "flush": PATIENCE}


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
    """Log the new values of recorded series, late and in blocks, so that no step waits for a device.

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
        self._seen: dict[tuple[Groups, str], tuple[Series | None, int]] = {}  # how many values each series had
        self._since = time.monotonic()

    def note(self, series: Mapping[str, Series], group: Groups, levels: Callable[[], int] = lambda: 1) -> None:
        """Note what is new of each series, and write if it is time to.

        Args:
            levels: How many steps under way, one inside of another, the series have values of: of so many the values
                can be new. Default: of one.
        """
        for name, values in series.items():
            count = len(values)
            seen, number = self._seen.get((group, name), (None, 0))
            if count == number and (seen is values or seen is None):
                continue
            self._seen[group, name] = (values, count)
            new = count - number if number < count and (seen is values or seen is None) else min(count, 1)
            for i in range(count - (new if new < 2 else min(new, max(1, levels()))), count):
                self._began = True
                for backend in self.backends:
                    backend._outlet.waiting.append((self, (values, name, i, group)))
        waiting = max(len(backend._outlet.waiting) for backend in self.backends)
        if waiting and (waiting >= self.block or time.monotonic() - self._since >= self.seconds):
            self.write()

    def note_phase(
        self, learner: Learner, phase: Phase, recorded: Mapping[Phase, Mapping[str, Series]], unit: str, kind: str
    ) -> None:
        """Note what is new of the series that are recorded for a phase, under its label; see `note`."""
        group = (unit, phase_label(phase), kind)
        self.note(recorded[phase], group, lambda: position_of(learner).levels.count(phase))

    def write(self) -> None:
        self._since = time.monotonic()
        super().write()

    def state_dict(self) -> dict[str, Any]:
        """Where the logs end, and how many values of each series are in them."""
        state = super().state_dict()
        if self._began:
            state["seen"] = [[*group, name, count] for (group, name), (_, count) in self._seen.items()]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._seen = {(tuple(group), name): (None, count) for *group, name, count in state.get("seen", ())}
