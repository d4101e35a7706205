"""What a report shows, and how a check ends."""

from collections.abc import Callable

import pytest
from treadle.testing import Checked, CheckResult, DoesNotApply, Finding, Report, outcome


def test_a_report_counts_and_shows_what_was_run_and_what_not():
    report = Report(
        "Peak",
        [
            CheckResult("handlers", "Its handlers match", "passed"),
            CheckResult("init", "on_init can run again", "skipped", "it has no on_init."),
            CheckResult("audit", "It changes nothing", "failed", "one thing\nanother"),
        ],
    )
    assert (report.run, report.skipped, report.failed) == (2, 1, 1)
    assert str(report) == (
        "Peak: 2 checks run, 1 skipped, 1 failed\n"
        "  passed   handlers  Its handlers match\n"
        "  skipped  init      on_init can run again\n"
        "      it has no on_init.\n"
        "  failed   audit     It changes nothing\n"
        "      one thing\n"
        "      another"
    )


def some(count: int) -> Callable[[object], Checked]:
    def check(subject: object) -> Checked:
        """It has some. More about it."""
        return Checked(count, "numbers", ["Look at them."])

    return check


def test_a_check_that_passes_counts_what_it_checked() -> None:
    result = outcome("some", some(3), None)
    assert (result.outcome, result.count, result.what, list(result.remarks)) == (
        "passed",
        3,
        "numbers",
        ["Look at them."],
    )
    assert "  passed   some  It has some. More about it (numbers: 3)\n      Remark: Look at them." in str(
        Report("It", [result])
    )


def test_a_check_that_found_nothing_to_check_fails() -> None:
    result = outcome("some", some(0), None)
    assert result.outcome == "failed"
    assert result.detail == (
        "It found no numbers to check, so nothing is known.\n"
        'Fix: let the check see some, or leave it out with the reason:\n    skip={"some": "why"}'
    )


@pytest.mark.parametrize(
    ("error", "ended", "detail"),
    [
        (Finding("It is wrong.\nFix: correct it."), "failed", "It is wrong.\nFix: correct it."),
        (DoesNotApply("There is none."), "skipped", "There is none."),
        (ValueError("a slip"), "failed", "ValueError: a slip"),
    ],
)
def test_what_a_check_raises_is_how_it_ended(error: Exception, ended: str, detail: str) -> None:
    def check(subject: object) -> Checked:
        """It has some."""
        raise error

    result = outcome("some", check, None)
    assert (result.outcome, result.detail, result.count) == (ended, detail, 0)
