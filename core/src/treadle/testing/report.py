"""How a check ends, and the report of them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import PurePath
from typing import Any, TypeVar

from treadle.arguments import file_path, list_of, one_of, whole_number
from treadle.errors import TreadleError
from treadle.testing.badge import svg

PASSED, SKIPPED, FAILED = "passed", "skipped", "failed"
T = TypeVar("T")


class Finding(Exception):
    """A check found something wrong; the message says what, and how to fix it. See `outcome`."""


class DoesNotApply(Exception):
    """A check is about something that is not there; the message says what. See `outcome`."""


@dataclass(frozen=True)
class Checked:
    """What a check did when it found nothing wrong; see `outcome`.

    Args:
        count: How many things it checked.
        what: What they are, as in "handler calls".
        remarks: What may be meant and deserves a look. Default: none.
        covered: The kinds of learner that it was tried in. Default: none to speak of.
    """

    count: int
    what: str
    remarks: Sequence[str] = ()
    covered: Sequence[str] = ()


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check.

    Args:
        name: The check's name, by which it can be skipped.
        title: What it checks, as a short sentence.
        outcome: "passed", "skipped" or "failed".
        detail: What was found, or why it was skipped. Default: nothing.
        remarks: What may be meant and deserves a look; it fails nothing. Default: none.
        count: How many things it checked. Default: 0, where it was skipped or failed.
        what: What they are, as in "handler calls". Default: nothing.
        covered: The kinds of learner that it was tried in. Default: none to speak of.
    """

    name: str
    title: str
    outcome: str
    detail: str = ""
    remarks: Sequence[str] = ()
    count: int = 0
    what: str = ""
    covered: Sequence[str] = ()

    def __post_init__(self) -> None:
        one_of(self.outcome, "outcome", (PASSED, SKIPPED, FAILED))
        whole_number(self.count, "count", 'CheckResult("handlers", "...", "passed", count=3, what="handlers")', least=0)


def outcome(name: str, check: Callable[[T], Checked], subject: T) -> CheckResult:
    r"""Run one check, for a kit of checks of your own.

    Args:
        name: The check's name.
        check: Returns what it checked. It raises `Finding` where it found something wrong, `DoesNotApply` where it is
            about something that is not there. Any other exception is a failure as well, and so is a check that
            checked nothing. The first line of its docstring says what it checks.
        subject: What is checked.

    Example:
        >>> from treadle.testing import Checked, Finding, Report
        >>> def small(numbers):
        ...     "All numbers are small."
        ...     if large := [number for number in numbers if number > 9]:
        ...         raise Finding(f"{large[0]} is large.\nFix: take a smaller one.")
        ...     return Checked(len(numbers), "numbers")
        >>> print(Report("three numbers", [outcome("small", small, [1, 2, 30])]))
        three numbers: 1 check run, 0 skipped, 1 failed
          failed   small  All numbers are small
              30 is large.
              Fix: take a smaller one.
        >>> outcome("small", small, []).outcome
        'failed'
    """
    title = title_of(check)
    try:
        checked = check(subject)
    except DoesNotApply as reason:
        return CheckResult(name, title, SKIPPED, str(reason))
    except Finding as finding:
        return CheckResult(name, title, FAILED, str(finding))
    except Exception as error:  # of what is checked
        return CheckResult(name, title, FAILED, message_of(error))
    if not checked.count:
        return CheckResult(
            name,
            title,
            FAILED,
            f"It found no {checked.what} to check, so nothing is known.\n"
            f'Fix: let the check see some, or leave it out with the reason:\n    skip={{"{name}": "why"}}',
        )
    return CheckResult(
        name, title, PASSED, "", tuple(checked.remarks), checked.count, checked.what, tuple(checked.covered)
    )


def title_of(check: Callable[..., Any]) -> str:
    """What a check checks, as a short sentence."""
    return str(check.__doc__).splitlines()[0].rstrip(".")


@dataclass(frozen=True)
class Report:
    """What `check_callback` found. `print(report)` shows it.

    Args:
        callback: The callback's name.
        results: The outcome of each check.
        observer: Whether it only watches, so that with `Learner(..., observer_errors="warn")` its errors end no fit;
            and why not. Default: nothing, where this is not known.
    """

    callback: str
    results: Sequence[CheckResult]
    observer: str = ""

    def __post_init__(self) -> None:
        list_of(self.results, "results", CheckResult, "Report('Peak', [CheckResult('handlers', '...', 'passed')])")

    @property
    def run(self) -> int:
        """The number of checks that passed or failed."""
        return len(self.results) - self.skipped

    @property
    def skipped(self) -> int:
        """The number of checks that were skipped, each with a reason."""
        return sum(result.outcome == SKIPPED for result in self.results)

    @property
    def failed(self) -> int:
        """The number of checks that found something wrong."""
        return sum(result.outcome == FAILED for result in self.results)

    @property
    def remarks(self) -> list[str]:
        """What may be meant and deserves a look; it fails nothing."""
        return [remark for result in self.results for remark in result.remarks]

    @property
    def covered(self) -> tuple[str, ...]:
        """The kinds of learner that it was tried in and works with."""
        return tuple(dict.fromkeys(kind for result in self.results for kind in result.covered))

    @property
    def summary(self) -> str:
        """The counts in a few words."""
        if self.failed or not self.run:
            return f"{self.failed} of {self.run} checks failed" if self.run else "nothing checked"
        kinds = f", {len(self.covered)} kinds of learner" if self.covered else ""
        return f"{self.run} of {len(self.results)} checks passed{kinds}"

    def badge(self) -> str:
        """A picture of the counts for a README, as SVG. It is drawn here, and needs no network.

        Example:
            >>> from treadle.testing import CheckResult, Report
            >>> print(Report("Peak", [CheckResult("audit", "It changes nothing", "passed")]).badge())
            <svg xmlns="http://www.w3.org/2000/svg" ... aria-label="treadle contract: 1 of 1 checks passed">
            ...
        """
        return svg("treadle contract", self.summary, good=bool(self.run and not self.failed))

    def write_badge(self, path: str | PathLike[str]) -> str:
        """Write the badge to a file, and return the line of Markdown that shows it.

        Args:
            path: The file, an `.svg`; its folder has to be there. The line has it as it is, so pass it as the README
                sees it.

        Raises:
            ArgumentTypeError: if it is not a path.

        Example:
            >>> import tempfile
            >>> from treadle.testing import CheckResult, Report
            >>> report = Report("Peak", [CheckResult("audit", "It changes nothing", "passed")])
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     print(report.write_badge(f"{folder}/peak.svg"))
            ![Peak, treadle contract: 1 of 1 checks passed](.../peak.svg)
        """
        file = file_path(path, "path", 'report.write_badge("peak.svg")')
        file.write_text(self.badge(), encoding="utf-8")
        return f"![{self.callback}, treadle contract: {self.summary}]({PurePath(file).as_posix()})"

    def __str__(self) -> str:
        counts = f"{self.run} check{'' if self.run == 1 else 's'} run, {self.skipped} skipped, {self.failed} failed"
        if remarks := len(self.remarks):
            counts += f", {remarks} remark{'s' if remarks > 1 else ''}"
        lines = [f"{self.callback}: {counts}"]
        width = max((len(result.name) for result in self.results), default=0)
        for result in self.results:
            text = "\n".join([result.detail, *(f"Remark: {remark}" for remark in result.remarks)])
            detail = "".join(f"\n      {line}" for line in text.strip("\n").splitlines())
            count = f" ({result.what}: {result.count})" if result.count else ""
            lines.append(f"  {result.outcome:<7}  {result.name:<{width}}  {result.title}{count}{detail}")
        if self.covered:
            lines.append(f"Learners: {'; '.join(self.covered)}")
        if self.observer:
            lines.append(f"Observer: {self.observer}")
        if not self.run:
            lines.append("Nothing was checked.\nFix: leave out less:\n    skip={}")
        return "\n".join(lines)


class CallbackCheckError(TreadleError, AssertionError):
    """A callback does not keep what callbacks promise; the message is the report.

    Attributes:
        report: All checks with their outcomes.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(str(report))


def message_of(error: BaseException) -> str:
    """An exception's message with its notes."""
    message = str(error) if isinstance(error, TreadleError) else f"{type(error).__name__}: {error}"
    return "\n".join([message, *getattr(error, "__notes__", ())])
