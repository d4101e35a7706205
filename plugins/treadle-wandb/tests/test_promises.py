"""What every logger backend promises."""

from treadle_logging.testing import check_backend


def test_it_keeps_what_backends_promise(make, read) -> None:
    report = check_backend(make, read=read)
    assert (report.run, report.skipped) == (11, 0)
