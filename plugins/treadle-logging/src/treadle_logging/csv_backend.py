"""`CSVBackend`: numbers and texts as rows of a file that a spreadsheet or pandas opens."""

from __future__ import annotations

import csv
import os
import weakref
import zlib
from os import PathLike
from pathlib import Path
from typing import TextIO

from treadle import TreadleError
from treadle.authoring import file_path, flush_file, one_of
from treadle.errors import ArgumentValueError

from treadle_logging.backend import BackendClosedError, LogChangedError, LoggerBackend, path_errors
from treadle_logging.hyperparams import HyperParams
from treadle_logging.loggable import Loggable, Text, Value

HEADER = ("tag", "iteration", "value")


class LogExistsError(TreadleError, FileExistsError):
    """A log would be mixed with that of an earlier run."""


class CSVBackend(LoggerBackend):
    r"""Write values, texts and hyperparameters to a CSV file with a row each: tag, iteration, value.

    The tag is the groups and the name joined by `/`. A number is written so that reading it gives
    the same 64-bit float. The file is made at once, with its folder; rows are on disk after `flush`,
    which the logging callbacks call at the end of every epoch.

    Args:
        path: The file.
        append: Whether to go on with an existing file, for a run that is resumed. Default: False.
        overwrite: Whether to replace an existing file. Default: False.

    Raises:
        ArgumentTypeError: if `path` is not a path.
        ArgumentValueError: with both `append` and `overwrite`, or if `path` is a folder or cannot be written to.
        LogExistsError: if the file has rows already and neither was passed, or if `append` finds
            a file that is not such a log.

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

    supported = (Value, Text, HyperParams)

    def __init__(self, path: str | PathLike[str], *, append: bool = False, overwrite: bool = False) -> None:
        self.path = file_path(path or None, "CSVBackend(path)", 'CSVBackend("log.csv")')
        for name, value in (("append", append), ("overwrite", overwrite)):
            one_of(value, f"CSVBackend({name})", (True, False))
        if append and overwrite:
            raise ArgumentValueError(
                "CSVBackend cannot both append to a file and overwrite it.\n"
                "Fix: choose one of the two:\n    CSVBackend(path, append=True)"
            )
        self._checksum = (0, 0)  # that of so many bytes at the beginning
        with path_errors("CSVBackend", self.path, "runs/1/log.csv"):
            self._file = self._opened(append=append, overwrite=overwrite)
        weakref.finalize(self, self._file.close)
        self._rows = csv.writer(self._file, lineterminator="\n")
        if not self._file.tell():
            self._rows.writerow(HEADER)
            self._file.flush()

    def _opened(self, *, append: bool, overwrite: bool) -> TextIO:
        """The file, which is empty or goes on with earlier rows."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and not self.path.is_file():
            raise OSError("it is a folder" if self.path.is_dir() else "it is not a regular file")
        rows = not overwrite and _has_rows(self.path)
        if rows and not append:
            raise LogExistsError(
                f"{self.path} has the log of an earlier run.\n"
                f"Fix: go on with it, or replace it with overwrite=True, or choose another path:\n"
                f"    CSVBackend({str(self.path)!r}, append=True)"
            )
        if rows:
            _drop_torn_row(self.path)
        else:
            self.path.write_bytes(b"")
        return self.path.open("a", newline="", encoding="utf-8")  # also behind what is cut off later

    def __repr__(self) -> str:
        return f"CSVBackend({str(self.path)!r})"

    def log(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
        self._check_open()
        if isinstance(loggable, Value):
            self._rows.writerow((self.tag(name, group), i, repr(loggable.number)))
        elif isinstance(loggable, Text):
            self._rows.writerow((self.tag(name, group), i, loggable.data))
        elif isinstance(loggable, HyperParams):
            self._rows.writerows((self.tag(key, (*group, name)), i, value) for key, value in loggable.data.items())

    def flush(self) -> None:
        self._check_open()
        self._file.flush()
        if not (self.path.exists() and os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())):
            raise LogChangedError(
                f"{self.path} was moved or deleted, so what is logged is not there any more.\n"
                f"Fix: leave the file where it is until the run has ended; go on with one that was moved:\n"
                f"    CSVBackend(moved, append=True)"
            )

    def position(self) -> dict[str, int]:
        """The length of the file in bytes, and a checksum of them; both are on the disk then."""
        self.flush()
        flush_file(self.path)
        self._checksum = checksum(self.path, self.path.stat().st_size, self._checksum)
        return dict(zip(("bytes", "crc32"), self._checksum, strict=True))

    def rewind(self, position: dict[str, int]) -> None:
        self.flush()
        length = position["bytes"]
        if checksum(self.path, length) != (length, position["crc32"]):
            raise LogChangedError(
                f"{self.path} does not begin with the {length} bytes that it held when the run was saved, so "
                f"nothing is cut off, and rows may be missing or duplicated.\n"
                f"Fix: resume with the log of that run:\n    CSVBackend(path_of_that_log, append=True)"
            )
        self._file.truncate(length)
        self._checksum = (length, position["crc32"])

    def close(self) -> None:
        self._file.close()

    def _check_open(self) -> None:
        if self._file.closed:
            raise BackendClosedError(
                f"The CSVBackend of {self.path} was closed.\n"
                f"Fix: go on with its file:\n    CSVBackend({str(self.path)!r}, append=True)"
            )


def checksum(path: Path, length: int, known: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """How many of the first bytes of a file there are, of so many, and their CRC-32.

    Args:
        known: That of a beginning, which is not read again. Default: none.
    """
    done, crc = known
    with path.open("rb") as file:
        file.seek(done)
        while block := file.read(min(2**20, length - done)):
            done, crc = done + len(block), zlib.crc32(block, crc)
    return done, crc


def _has_rows(path: Path) -> bool:
    """Whether a file holds more than our header; a file of another kind is refused."""
    if not path.exists():
        return False
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        first, second = file.readline(1000), file.readline(1000)
    if first and first.rstrip("\r\n") != ",".join(HEADER):
        raise LogExistsError(
            f"{path} exists and is not a log of a CSVBackend: its first line is {first.strip()!r:.60}.\n"
            f"Fix: choose another path, or replace the file:\n    CSVBackend({str(path)!r}, overwrite=True)"
        )
    return bool(second)


def _drop_torn_row(path: Path) -> None:
    """Remove the beginning of a row that a killed run could not finish; a text in it may have several lines."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    quotes = content.count(b'"', 0, whole)
    while quotes % 2:  # inside of a text
        before = content.rfind(b"\n", 0, whole - 1) + 1
        whole, quotes = before, quotes - content.count(b'"', before, whole)
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
