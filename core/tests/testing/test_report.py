from treadle.testing import CheckResult, Report


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
