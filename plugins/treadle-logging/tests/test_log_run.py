import pytest
from treadle import toy_learner
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_checkpoint import resume, save_run
from treadle_logging import CSVBackend, File, HyperParams, LogMetrics, LogRun
from treadle_metrics import Metrics, Recorder


def kinds(memory) -> list[tuple[str, int]]:
    return [(tag, i) for tag, i, _ in memory.rows]


def test_settings_and_plan_are_logged_when_the_first_fit_begins(memory) -> None:
    learner = toy_learner(LogRun(memory, hyperparams={"lr": 0.1}), nbatches=2)
    learner.fit(1)
    learner.fit(1)
    assert kinds(memory) == [("HParams", 0), ("Plan", 0)]
    settings, plan = memory.loggables
    assert settings == HyperParams({"lr": 0.1})
    assert plan == File("plan.txt", str(learner.plan()))


def test_without_settings_the_plan_is_logged_alone(memory) -> None:
    toy_learner(LogRun(memory), nbatches=2).fit(1)
    assert kinds(memory) == [("Plan", 0)]


def test_a_plan_that_has_changed_is_logged_again(memory) -> None:
    learner = toy_learner(LogRun(memory, hyperparams={"lr": 0.1}), nbatches=2)
    learner.fit(1)
    learner.add_callback(Recorder())
    learner.fit(1)
    assert kinds(memory) == [("HParams", 0), ("Plan", 0), ("Plan", 2)]
    assert "Recorder" in memory.loggables[-1].data


def test_a_resumed_run_logs_them_again_only_where_they_have_changed(memory, new_memory, tmp_path) -> None:
    learner = toy_learner(LogRun(memory, hyperparams={"lr": 0.1}), nbatches=2)
    learner.fit(1)
    save_run(learner, tmp_path / "run")

    same, other = new_memory(), new_memory()
    for backend, rate in ((same, 0.1), (other, 0.2)):
        resumed = toy_learner(LogRun(backend, hyperparams={"lr": rate}), nbatches=2)
        resume(resumed, tmp_path / "run")
        resumed.fit(2)
    assert kinds(same) == []
    assert kinds(other) == [("HParams", 2)]


def test_a_run_that_dies_before_its_checkpoint_logs_them_once(tmp_path) -> None:
    def learner(append: bool):
        backend = CSVBackend(tmp_path / "log.csv", append=append)
        return toy_learner(Recorder(), Metrics(), LogRun(backend, hyperparams={"lr": 0.1}), LogMetrics(backend))

    first = learner(append=False)
    save_run(first, tmp_path / "begin")
    first.fit(1)
    save_run(first, tmp_path / "run")
    first.fit(1)
    second = learner(append=True)
    resume(second, tmp_path / "run")
    second.fit(2)
    assert (tmp_path / "log.csv").read_text().count("HParams/lr") == 1


def test_a_backend_and_settings_are_checked(memory) -> None:
    with pytest.raises(ArgumentValueError, match="LogRun has no backend"):
        LogRun()
    with pytest.raises(ArgumentTypeError, match="must be a mapping of names to values"):
        LogRun(memory, hyperparams=3)
