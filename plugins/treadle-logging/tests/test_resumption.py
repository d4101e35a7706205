"""What a logger keeps in a checkpoint, and what it does to a log when a run is resumed."""

from pathlib import Path

import pytest
from treadle import StepEnd, ThreadedRunner, ValidationPhase, epoch, throttle, toy_learner
from treadle.authoring import capture_run
from treadle_logging import (
    CSVBackend,
    LogChangedError,
    LoggerBackend,
    LogHyperParams,
    LogMetrics,
    LogTraces,
    Text,
    Value,
    log_to,
)
from treadle_logging.logger import Logger
from treadle_metrics import Metrics, Recorder, Traces
from treadle_schedule import LearningRate, Scheduler


def entries(*numbers):
    return [(Value(number), "a", i, ()) for i, number in enumerate(numbers, 1)]


def logged(path: Path) -> list[float]:
    return [float(line.split(",")[2]) for line in path.read_text().splitlines()[1:]]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "log.csv"


def test_what_a_log_holds_past_the_checkpoint_is_cut_off_before_the_first_step(path) -> None:
    first = Logger(CSVBackend(path))
    first.send(entries(1, 2))
    state = first.state_dict()
    first.send(entries(3, 4))
    first.flush()
    second = Logger(CSVBackend(path, append=True))
    second.load_state_dict(state)
    assert logged(path) == [1, 2, 3, 4]  # a resumption that is refused leaves it as it is
    second.on_fit_begin()
    assert logged(path) == [1, 2]
    second.send(entries(5))
    second.flush()
    assert logged(path) == [1, 2, 5]


def test_a_state_that_is_put_back_before_a_fit_begins_costs_nothing(path) -> None:
    logger = Logger(CSVBackend(path))
    logger.send(entries(1, 2))
    early = logger.state_dict()
    logger.send(entries(3))
    late = logger.state_dict()
    logger.load_state_dict(early)
    assert logger.state_dict() == early
    logger.load_state_dict(late)
    logger.on_fit_begin()
    assert logged(path) == [1, 2, 3]


def test_a_logger_that_joins_before_any_fit_has_no_state_and_cuts_nothing_off(path) -> None:
    logger = Logger(CSVBackend(path))
    before = logger.state_dict()
    assert before == {}
    logger.on_fit_begin()
    logger.send(entries(1, 2))
    logger.load_state_dict(before)
    logger.on_fit_begin()
    logger.send(entries(3))
    logger.flush()
    assert logged(path) == [1, 2, 3]


def test_what_is_logged_while_the_fit_begins_again_is_cut_off_as_well(path) -> None:
    first = Logger(CSVBackend(path))
    first.send(entries(1))
    state = first.state_dict()
    second = Logger(backend := CSVBackend(path, append=True))
    second.load_state_dict(state)
    second.on_fit_begin()
    log_to(backend, Value(2), "a", 2)
    second.load_state_dict(state)  # as a resumption puts the state back when FitBegin was handled
    second.send(entries(3))
    second.flush()
    assert logged(path) == [1, 3]


def test_a_file_that_was_changed_is_left_as_it_is_with_a_warning(path, warnings) -> None:
    first = Logger(CSVBackend(path))
    first.send(entries(1, 2))
    state = first.state_dict()
    path.write_text(path.read_text().replace("1.0", "7.0") + "a,3,3.0\n")
    second = Logger(CSVBackend(path, append=True))
    second.load_state_dict(state)
    second.on_fit_begin()
    assert logged(path) == [7, 2, 3]
    (warning,) = warnings
    assert warning.startswith(f"Logger could not go on with the log of CSVBackend('{path}'): LogChangedError: {path}")
    assert "does not begin with the 36 bytes that it held when the run was saved, so nothing is cut off" in warning


@pytest.mark.parametrize("what", ["deleted", "shorter"])
def test_strict_refuses_a_file_that_is_gone_or_shorter_before_the_first_step(path, what) -> None:
    first = Logger(CSVBackend(path))
    first.send(entries(1, 2))
    state = first.state_dict()
    first.backends[0].close()
    if what == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-5])
    second = Logger(CSVBackend(path, append=True), strict=True)
    second.load_state_dict(state)
    with pytest.raises(
        LogChangedError,
        match=r"nothing is cut off, .*\nFix: resume with the log of that run:\n    CSVBackend\(",
    ):
        second.on_fit_begin()


def test_a_copy_of_the_file_will_do(path, tmp_path) -> None:
    first = Logger(CSVBackend(path))
    first.send(entries(1))
    state = first.state_dict()
    first.send(entries(2))
    first.flush()
    moved = tmp_path / "moved.csv"
    path.rename(moved)
    second = Logger(CSVBackend(moved, append=True))
    second.load_state_dict(state)
    second.on_fit_begin()
    assert logged(moved) == [1]


def test_a_file_that_vanishes_during_a_run_is_reported(path, warnings) -> None:
    logger = Logger(CSVBackend(path))
    path.unlink()
    logger.send(entries(1))
    logger.flush()
    assert warnings[0].startswith("Logger could not flush to CSVBackend(")
    assert f"LogChangedError: {path} was moved or deleted, so what is logged is not there any more." in warnings[0]


def test_a_text_of_several_lines_that_was_half_written_is_dropped_whole(path) -> None:
    with CSVBackend(path) as backend:
        log_to(backend, Value(1), "a", 1)
        log_to(backend, Text('"one"\ntwo'), "b", 1)
    whole = path.read_bytes()
    for torn in range(len(whole)):
        path.write_bytes(whole[:torn] if torn >= 20 else whole)
        CSVBackend(path, append=True).close()
        assert path.read_bytes() in (whole, whole[:28], whole[:20])


class Lines(LoggerBackend):
    """What a backend is at least."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []

    def log(self, loggable, name, i, group) -> None:
        self.lines.append((name, i))


def test_a_backend_without_positions_goes_on_working(path) -> None:
    logger = Logger(Lines(), CSVBackend(path))
    logger.send(entries(1))
    state = logger.state_dict()
    assert [name for name, _ in state["logs"]] == ["Lines", "CSVBackend"]
    assert state["logs"][0][1] is None
    resumed = Logger(CSVBackend(path, append=True), lines := Lines())
    resumed.load_state_dict(state)
    resumed.send(entries(2))
    assert lines.lines == [("a", 1)]


def learner_with(path, *, append=False, runner=None, wrap=lambda logger: logger):
    backend = CSVBackend(path, append=append)
    return toy_learner(
        Recorder(),
        Metrics(),
        Scheduler({LearningRate: 0.001}),
        Traces({"Twice": lambda learner: 2 * learner.step.loss.detach()}),
        LogHyperParams(backend),
        wrap(LogMetrics(backend, seconds=0)),
        LogTraces(backend),
        nbatches=4,
        runner=runner,
    )


@pytest.mark.parametrize("wrap", [lambda logger: logger, lambda logger: throttle(logger, StepEnd, freq=3)])
@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_run_that_goes_on_from_any_epoch_has_the_log_of_one_that_never_stopped(tmp_path, done, wrap) -> None:
    whole, resumed = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    learner = learner_with(whole, wrap=wrap)
    for _ in range(4):
        learner.fit(1)
    learner = learner_with(resumed, wrap=wrap)
    for _ in range(done):
        learner.fit(1)
    state = capture_run(learner)
    learner.fit(1)  # past what was saved
    again = learner_with(resumed, append=True, wrap=wrap)
    state.check(again)
    state.put_back(again)
    for _ in range(4 - done):
        again.fit(1)
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_rate_that_was_set_before_the_checkpoint_is_not_logged_again_in_a_validation_after_it(path) -> None:
    learner = learner_with(path)
    learner.fit(1, (learner.data.training,))
    state = capture_run(learner)
    again = learner_with(path, append=True)
    state.put_back(again)
    epoch(again, ValidationPhase())
    rates = [line for line in path.read_text().splitlines() if "HParams" in line]
    assert len(rates) == 4


def test_a_logger_may_join_or_leave_a_resumed_run(tmp_path) -> None:
    without = toy_learner(Recorder(), Metrics(), nbatches=2)
    without.fit(1)
    state = capture_run(without)
    joined = toy_learner(Recorder(), Metrics(), LogMetrics(CSVBackend(tmp_path / "a.csv")), nbatches=2)
    joined.fit(0)
    state.check(joined)
    with_logger = capture_run(joined)
    with_logger.check(toy_learner(Recorder(), Metrics(), nbatches=2))


def test_under_a_threaded_runner_a_resumed_log_has_the_same_rows(tmp_path) -> None:
    runner = ThreadedRunner()
    learner_with(tmp_path / "whole.csv", runner=runner).fit(2)
    first = learner_with(tmp_path / "resumed.csv", runner=runner)
    first.fit(1)
    state = capture_run(first)
    first.fit(1)
    again = learner_with(tmp_path / "resumed.csv", append=True, runner=runner)
    state.put_back(again)
    again.fit(1)
    rows = [sorted((tmp_path / name).read_text().splitlines()) for name in ("whole.csv", "resumed.csv")]
    assert rows[0] == rows[1]
