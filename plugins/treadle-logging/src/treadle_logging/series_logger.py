"""`SeriesLogger`: what the loggers of recorded series have in common."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from treadle import Callback, Learner, Phase, Series
from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_logging.backend import LoggerBackend
from treadle_logging.delivery import Delivery, Entry
from treadle_logging.loggable import Value

Groups = tuple[str, ...]


class SeriesLogger(Callback):
    """Log the newest values of recorded series, late and in blocks, so that no step waits for a device.

    A step only notes which values are new. They are read and written when `block` values have come
    together, when `seconds` have passed, at the end of every epoch and at the end of the fit,
    however it ends. Values that were recorded before the callback was there are not logged.

    Args:
        *backends: Where to log.
        block: So many values are held back at most. Default: 1000.
        seconds: So long they are held back at most. Default: 10.
        strict: Whether a backend that fails ends the training. Default: False.

    Raises:
        ArgumentTypeError: if a backend is none, or `block` no int, or `seconds` no number.
        ArgumentValueError: without a backend, for a `block` below one or `seconds` below zero.
    """

    def __init__(
        self, *backends: LoggerBackend, block: int = 1000, seconds: float = 10.0, strict: bool = False
    ) -> None:
        if not isinstance(block, int) or not isinstance(seconds, int | float):
            raise ArgumentTypeError(
                f"{self.name} needs an int and a number, got block={block!r}, seconds={seconds!r}: "
                f"{self.name}(backend, block=1000, seconds=10)"
            )
        if block < 1 or not seconds >= 0:
            raise ArgumentValueError(
                f"{self.name} holds back at least 1 value for at least 0 seconds, got block={block}, "
                f"seconds={seconds}: {self.name}(backend, block=1) writes every value at once."
            )
        self.delivery = Delivery(self.name, backends, strict=strict)
        self.block = block
        self.seconds = seconds
        self._seen: dict[tuple[Groups, str], int] = {}
        self._noted: list[tuple[Series, int, str, Groups]] = []
        self._since = time.monotonic()

    def on_fit_begin(self) -> None:
        self.delivery.begin()

    def on_epoch_end(self, learner: Learner, phase: Phase) -> None:
        self.finish()

    def on_fit_end(self) -> None:
        self.finish()

    def note(self, series: Mapping[str, Series], group: Groups) -> None:
        """Note the newest value of each series that has one which was not logged yet.

        Args:
            series: The series by their names.
            group: The groups to log them under.
        """
        for name, one in series.items():
            count = len(one)
            key = (group, name)
            if count != self._seen.get(key, 0):
                self._seen[key] = count
                if count:
                    self._noted.append((one, count - 1, name, group))

    def write_if_due(self) -> None:
        """Write what was noted, if it is enough or was noted long enough ago."""
        if self._noted and (len(self._noted) >= self.block or time.monotonic() - self._since >= self.seconds):
            self.write()

    def write(self) -> None:
        """Write what was noted."""
        noted, self._noted = self._noted, []
        self._since = time.monotonic()
        self.delivery.send(_entries(noted))

    def finish(self) -> None:
        """Write what was noted and flush the backends."""
        self.write()
        self.delivery.flush()


def _entries(noted: list[tuple[Series, int, str, Groups]]) -> Iterator[Entry]:
    for series, index, name, group in noted:
        if index < len(series):  # a series that was cut back has lost it
            yield Value(series.values[index]), name, series.iterations[index], group


def phase_name(phase: Phase) -> str:
    """A phase in a tag: its type's name, and the fields if it has any, since each has series of its own.

    Example:
        >>> from treadle import TrainingPhase
        >>> phase_name(TrainingPhase())
        'TrainingPhase'
    """
    fields = ", ".join(f"{name}={value!r}" for name, value in vars(phase).items())
    return f"{type(phase).__name__}({fields})" if fields else type(phase).__name__
