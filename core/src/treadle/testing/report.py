"""How a check ends, and the report of them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from treadle.arguments import list_of, one_of
from treadle.errors import TreadleError

PASSED, SKIPPED, FAILED = "passed", "skipped", "failed"


class Finding(Exception):
    """A check found something wrong; the message says what, and how to fix it."""


class DoesNotApply(Exception):
    """A check has nothing to check; the message says why."""


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check.

    Args:
        name: The check's name, by which it can be skipped.
        title: What it checks, as a short sentence.
        outcome: "passed", "skipped" or "failed".
        detail: What was found, or why it was skipped. Default: nothing.
        remarks: What may be meant and deserves a look; it fails nothing. Default: none.
    """

    name: str
    title: str
    outcome: str
    detail: str = ""
    remarks: Sequence[str] = ()

    def __post_init__(self) -> None:
        one_of(self.outcome, "outcome", (PASSED, SKIPPED, FAILED))


@dataclass(frozen=True)
class Report:
    """What `check_callback` found. `print(report)` shows it.

    Args:
        callback: The callback's name.
        results: The outcome of each check.
    """

    callback: str
    results: Sequence[CheckResult]

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

    def __str__(self) -> str:
        counts = f"{self.run} checks run, {self.skipped} skipped, {self.failed} failed"
        if remarks := len(self.remarks):
            counts += f", {remarks} remark{'s' if remarks > 1 else ''}"
        lines = [f"{self.callback}: {counts}"]
        width = max((len(result.name) for result in self.results), default=0)
        for result in self.results:
            text = "\n".join([result.detail, *(f"Remark: {remark}" for remark in result.remarks)])
            detail = "".join(f"\n      {line}" for line in text.strip("\n").splitlines())
            lines.append(f"  {result.outcome:<7}  {result.name:<{width}}  {result.title}{detail}")
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
