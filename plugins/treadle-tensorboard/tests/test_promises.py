"""What every logger backend promises."""

from treadle_logging.testing import check_backend
from treadle_tensorboard import TensorBoardBackend


def test_it_keeps_what_backends_promise(read) -> None:
    def numbers(folder):
        events = read(folder)
        return [(tag, event.step, event.value) for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]

    report = check_backend(TensorBoardBackend, read=numbers)
    assert (report.run, report.skipped) == (11, 0)
