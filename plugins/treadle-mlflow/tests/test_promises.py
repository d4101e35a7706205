"""What every logger backend promises."""

from treadle_logging.testing import check_backend


def test_it_keeps_what_backends_promise(make, read) -> None:
    resume = "MLflow cannot delete points; tests/test_resumption.py tests what is done instead"
    report = check_backend(make, read=read, skip={"resume": resume})
    assert (report.run, report.skipped) == (10, 1)
