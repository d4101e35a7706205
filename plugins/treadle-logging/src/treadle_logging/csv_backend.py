"""`CSVBackend`: numbers and texts as rows of a file that a spreadsheet or pandas opens."""

from __future__ import annotations

import csv
import weakref
from os import PathLike, fspath
from pathlib import Path

from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_logging.backend import LoggerBackend
from treadle_logging.errors import BackendClosedError, LogExistsError
from treadle_logging.loggable import Loggable, Text, Value

HEADER = ("tag", "iteration", "value")


class CSVBackend(LoggerBackend):
    r"""Write values and texts to a CSV file with a row each: tag, iteration, value.

    The tag is the groups and the name joined by `/`. A number is written so that reading it gives
    the same 64-bit float. The file is made at once, with its folder; rows are on disk after `flush`,
    which the logging callbacks call at the end of every epoch.

    Args:
        path: The file.
        append: Whether to go on with a file that is there, for a run that is resumed. Default: False.
        overwrite: Whether to replace a file that is there. Default: False.

    Raises:
        ArgumentTypeError: if `path` is no path.
        ArgumentValueError: if both `append` and `overwrite` are asked for.
        LogExistsError: if the file has rows already and neither was asked for, or if `append` meets
            a file that is no such log.

    Example:
        >>> from pathlib import Path
        >>> from treadle import toy_learner
        >>> from treadle_logging import LogMetrics
        >>> from treadle_metrics import Metrics, Recorder
        >>> backend = CSVBackend("toy.csv")
        >>> _ = toy_learner(Recorder(), Metrics(), LogMetrics(backend), nbatches=2).fit(1)
        >>> print(Path("toy.csv").read_text())
        tag,iteration,value
        Step/TrainingPhase/Metrics/Loss,1,133.5
        Step/TrainingPhase/Metrics/Loss,2,208.3...
        Epoch/TrainingPhase/Metrics/Loss,1,170.9...
        Step/ValidationPhase/Metrics/Loss,1,161.9...
        Step/ValidationPhase/Metrics/Loss,2,156.1...
        Epoch/ValidationPhase/Metrics/Loss,1,159.0...
    """

    supported = (Value, Text)

    def __init__(self, path: str | PathLike[str], *, append: bool = False, overwrite: bool = False) -> None:
        if not isinstance(path, str | PathLike):
            raise ArgumentTypeError(f'CSVBackend needs a path, got {path!r}: CSVBackend("log.csv")')
        if append and overwrite:
            raise ArgumentValueError(
                "CSVBackend can append to a file or overwrite it, not both: CSVBackend(path, append=True)"
            )
        self.path = Path(fspath(path))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = not overwrite and _has_rows(self.path)
        if rows and not append:
            raise LogExistsError(
                f"{self.path} holds the log of an earlier run. Go on with it, CSVBackend(path, append=True), "
                f"replace it, CSVBackend(path, overwrite=True), or choose another path."
            )
        if rows:
            _drop_torn_row(self.path)
        self._file = self.path.open("a" if rows else "w", newline="", encoding="utf-8")
        weakref.finalize(self, self._file.close)
        self._rows = csv.writer(self._file, lineterminator="\n")
        if not rows:
            self._rows.writerow(HEADER)
            self._file.flush()

    def log(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
        self._check_open()
        if isinstance(loggable, Value):
            self._rows.writerow((self.tag(name, group), i, repr(loggable.number)))
        elif isinstance(loggable, Text):
            self._rows.writerow((self.tag(name, group), i, loggable.data))

    def flush(self) -> None:
        self._check_open()
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _check_open(self) -> None:
        if self._file.closed:
            raise BackendClosedError(
                f"The CSVBackend of {self.path} was closed. Go on with its file: "
                f"CSVBackend({str(self.path)!r}, append=True)"
            )


def _has_rows(path: Path) -> bool:
    """Whether a file holds more than our header; a file that is not ours is refused."""
    if not path.exists():
        return False
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        first, second = file.readline(), file.readline()
    if first and first.rstrip("\r\n") != ",".join(HEADER):
        raise LogExistsError(
            f"{path} is there and is no log of a CSVBackend: its first line is {first.strip()!r:.60}. "
            f"Choose another path, or replace it: CSVBackend(path, overwrite=True)"
        )
    return bool(second)


def _drop_torn_row(path: Path) -> None:
    """Remove the beginning of a row that a killed run could not finish."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
