"""The report of `check_callback`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PASSED, SKIPPED, FAILED = "passed", "skipped", "failed"


@dataclass(frozen=True)
class CheckResult:
    """The outcome of one check.

    Args:
        name: The check's name, by which it can be skipped.
        title: What it checks, as a short sentence.
        outcome: "passed", "skipped" or "failed".
        detail: What was found, or why it was skipped. Default: nothing.
    """

    name: str
    title: str
    outcome: str
    detail: str = ""


@dataclass(frozen=True)
class Report:
    """What `check_callback` found. `print(report)` shows it.

    Args:
        callback: The callback's name.
        results: The outcome of each check.
    """

    callback: str
    results: Sequence[CheckResult]

    @property
    def run(self) -> int:
        """How many checks ran, to a good or a bad end."""
        return len(self.results) - self.skipped

    @property
    def skipped(self) -> int:
        """How many checks were left out; each says why."""
        return sum(result.outcome == SKIPPED for result in self.results)

    @property
    def failed(self) -> int:
        """How many checks found something."""
        return sum(result.outcome == FAILED for result in self.results)

    def __str__(self) -> str:
        lines = [f"{self.callback}: {self.run} checks run, {self.skipped} skipped, {self.failed} failed"]
        width = max((len(result.name) for result in self.results), default=0)
        for result in self.results:
            detail = "".join(f"\n      {line}" for line in result.detail.splitlines())
            lines.append(f"  {result.outcome:<7}  {result.name:<{width}}  {result.title}{detail}")
        return "\n".join(lines)
