"""What every logger backend promises: `check_backend` checks it in one call."""

from __future__ import annotations

from collections.abc import Callable

from treadle import TreadleError
from treadle.authoring import did_you_mean, instance_of
from treadle.errors import ArgumentValueError
from treadle.testing import Checked, CheckResult, Report, outcome

from treadle_logging.testing import endings, kinds, numbers, resumption
from treadle_logging.testing.place import Make, Places, Read

#: The checks by name, in the order in which they are made.
CHECKS: dict[str, Callable[[Places], Checked]] = {
    "supported": kinds.supported,
    "kinds": kinds.kinds,
    "refusals": kinds.refusals,
    "unchanged": kinds.unchanged,
    "numbers": numbers.numbers,
    "not_finite": numbers.not_finite,
    "names": numbers.names,
    "threads": numbers.threads,
    "flush": endings.flush,
    "close": endings.close,
    "resume": resumption.resume,
}


class BackendCheckError(TreadleError, AssertionError):
    """A backend does not keep what backends promise; the message is the report.

    Attributes:
        report: All checks with their outcomes.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(str(report))


def check_backend(make: Make, *, read: Read | None = None, skip: dict[str, str] | None = None) -> Report:
    """Check that a logger backend keeps what backends promise.

    - `supported`: it names the kinds of loggable that it takes.
    - `kinds`: it takes every form of these kinds: an image with one, three or four channels, a text of several lines.
    - `refusals`: what it cannot take is refused by `UnsupportedLoggable` and reported once.
    - `unchanged`: logging leaves the random generators, the data and the model as they were.
    - `numbers`: numbers come back under their tag and iteration, in their order.
    - `not_finite`: NaN and infinities come back as such, or are refused or reported, and never become other numbers.
    - `names`: every name is taken, or refused by an error with the name; no two share a tag.
    - `threads`: it can be used from other threads than the one that made it, and nothing is lost or doubled.
    - `flush`: it can be flushed at any time, and what was logged before can be read.
    - `close`: closing flushes, can be done twice, and what is logged afterwards is not lost silently.
    - `resume`: where it has `position`: what was logged past a position is cut off, also in another process; another
      log is refused and left as it is.

    Args:
        make: Makes a backend that writes into a folder: it is called with an empty one, and called again with the same
            for a backend that goes on with that log, as the script of a resumed run does.
        read: Reads the numbers that a log in a folder holds: an iterable of (tag, iteration, number), those of one tag
            in their order, the tag as `LoggerBackend.tag` has it. Default: none, and then `numbers` is skipped, and
            the others see only what is raised.
        skip: Names of checks to leave out, each with the reason. Default: none.

    Returns:
        The report; none has failed.

    Raises:
        BackendCheckError: if a check fails; its message is the report.
        ArgumentTypeError, ArgumentValueError: if an argument cannot be used, such as a skip without a reason.

    Example:
        >>> import csv
        >>> from treadle_logging import CSVBackend
        >>> def read(folder):
        ...     with open(folder / "log.csv", newline="") as file:
        ...         for row in csv.DictReader(file):
        ...             yield row["tag"], int(row["iteration"]), float(row["value"])
        >>> print(check_backend(lambda folder: CSVBackend(folder / "log.csv", append=True), read=read))
        CSVBackend: 11 checks run, 0 skipped, 0 failed
          passed   supported   It names the kinds of loggable that it takes (kinds: 3)
          passed   kinds       It takes every form of the kinds that it supports (loggables: 6)
          passed   refusals    What it cannot take is refused by UnsupportedLoggable and reported once (kinds: 6)
          passed   unchanged   Logging leaves the random generators, the data and the model as they were (loggables: 6)
          passed   numbers     Numbers come back under their tag and iteration, in their order (numbers: 18)
          passed   not_finite  Numbers that are not finite never become other numbers (numbers: 3)
          passed   names       Every name is taken, or refused by name, and no two share a tag (names: 11)
          passed   threads     It can be used from several threads, and nothing is lost or doubled (numbers: 20)
          passed   flush       It can be flushed at any time, and then what was logged can be read (flushes: 3)
          passed   close       Closing flushes, twice is as once, and nothing is lost silently afterwards (closings: 2)
          passed   resume      What was logged past a position is cut off, and another log is left as it is (logs: 3)
    """
    skipped = reasons(skip or {})
    places = Places(make, read)
    results = [
        CheckResult(name, title(check), "skipped", skipped[name]) if name in skipped else outcome(name, check, places)
        for name, check in CHECKS.items()
    ]
    report = Report(places.name, results)
    if report.failed or not report.run:
        raise BackendCheckError(report)
    return report


def title(check: Callable[[Places], Checked]) -> str:
    """What a check checks, as a short sentence."""
    return str(check.__doc__).splitlines()[0].rstrip(".")


def reasons(skip: dict[str, str]) -> dict[str, str]:
    """The checks to leave out, each with a reason, checked."""
    example = 'check_backend(make, skip={"names": "why"})'
    instance_of(skip, "skip", dict, example)
    for name, reason in skip.items():
        if name not in CHECKS:
            raise ArgumentValueError(
                f"skip has {name!r}, which is not a check.\nFix: name a check. {did_you_mean(str(name), CHECKS)}"
            )
        if not isinstance(reason, str) or not reason.strip():
            raise ArgumentValueError(f"skip has {name!r} without a reason.\nFix: give the reason:\n    {example}")
    return skip
