"""A resumed run goes on with the run of its checkpoint."""

import pytest
from treadle import toy_learner
from treadle_checkpoint import resume, save_run
from treadle_logging import LogChangedError, LogHyperParams, LogMetrics, LogRun, Value, log_to
from treadle_metrics import Metrics, Recorder
from treadle_schedule import Exp, LearningRate, Scheduler


def learner(backend):
    rates = Scheduler({LearningRate: Exp(start=0.001, decay=0.99)})
    loggers = LogMetrics(backend), LogHyperParams(backend), LogRun(backend, hyperparams={"lr": 0.001})
    return toy_learner(Recorder(), Metrics(), rates, *loggers, nbatches=4)


def test_a_run_that_died_and_was_resumed_is_one_run_with_each_point_once(make, read, tmp_path) -> None:
    whole, died = make(tmp_path / "whole"), make(tmp_path / "run")
    first = learner(whole)
    first.fit(1)
    first.fit(2)
    whole.close()

    first = learner(died)
    first.fit(1)
    save_run(first, tmp_path / "checkpoint")
    first.fit(1)  # what it logs here is past the checkpoint

    resumed = make(tmp_path / "run")
    second = learner(resumed)
    resume(second, tmp_path / "checkpoint")
    second.fit(2)
    resumed.close()

    assert resumed.run_id == died.run_id
    assert sorted(read(tmp_path / "run")) == sorted(read(tmp_path / "whole"))
    run = resumed._client.get_run(resumed.run_id)
    assert (run.info.status, run.data.params) == ("FINISHED", {"lr": "0.001"})


def test_other_values_than_before_are_there_too_and_reported_once(make, read, tmp_path, warnings) -> None:
    backend = make(tmp_path)
    log_to(backend, Value(1), "a", 1)
    position = backend.position()
    for i in (2, 3):
        log_to(backend, Value(2), "a", i)
    backend.flush()
    resumed = make(tmp_path)
    resumed.rewind(position)
    for i in (2, 3):
        log_to(resumed, Value(5), "a", i)
    resumed.close()
    assert sorted(read(tmp_path)) == [("a", 1, 1.0), ("a", 2, 2.0), ("a", 2, 5.0), ("a", 3, 2.0), ("a", 3, 5.0)]
    assert warnings == [
        f"The resumed run has 5.0 for 'a' at 2, and before it was interrupted it logged 2.0. MLflow cannot delete "
        f"points, so the run {backend.run_id} has both there."
    ]


def test_what_waits_is_dropped_when_a_run_is_resumed(make, read, tmp_path) -> None:
    backend = make(tmp_path)
    log_to(backend, Value(1), "a", 1)
    position = backend.position()
    log_to(backend, Value(2), "a", 2)
    backend.rewind(position)
    log_to(backend, Value(3), "a", 2)
    backend.close()
    assert read(tmp_path) == [("a", 1, 1.0), ("a", 2, 3.0)]


def test_numbers_that_are_not_finite_are_not_repeated(make, read, tmp_path) -> None:
    backend = make(tmp_path)
    position = backend.position()
    numbers = [float("inf"), float("-inf"), float("nan")]
    for resumed in (backend, make(tmp_path)):
        resumed.rewind(position)
        for i, number in enumerate(numbers):
            log_to(resumed, Value(number), "a", i)
        resumed.flush()
    assert [i for _, i, _ in read(tmp_path)] == [0, 1, 2]


def test_the_run_of_another_store_is_refused(make, read, tmp_path) -> None:
    backend = make(tmp_path / "one")
    position = backend.position()
    other = make(tmp_path / "two")
    log_to(other, Value(1), "a", 1)
    with pytest.raises(LogChangedError, match=rf"cannot go on with the run {backend.run_id}, which is missing there"):
        other.rewind(position)
    other.flush()
    assert read(tmp_path / "two") == [("a", 1, 1.0)]
    backend._client.delete_run(backend.run_id)
    with pytest.raises(LogChangedError, match=r"which is deleted there\.\nFix: use the store that the run is in"):
        backend.rewind(position)


def test_a_backend_that_has_a_run_goes_on_with_no_other(make, tmp_path) -> None:
    position = make(tmp_path).position()
    with make(tmp_path) as other:
        log_to(other, Value(1), "a", 1)
        other.flush()
        with pytest.raises(LogChangedError, match=r"logs to the run \w+, and the run that is resumed logged to \w+\."):
            other.rewind(position)
