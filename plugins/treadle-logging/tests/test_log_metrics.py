import pytest
import torch
from treadle import (
    Callback,
    CallbackConflictError,
    CancelFittingException,
    CancelStepException,
    LinearRunner,
    Phase,
    Read,
    StepEnd,
    ThreadedRunner,
    TrainingPhase,
    ValidationPhase,
    Write,
    accesses,
    epoch,
    throttle,
    toy_learner,
)
from treadle.errors import ArgumentValueError
from treadle_logging import CSVBackend, LoggerBackend, LogHistograms, LogMetrics
from treadle_metrics import Metrics, Recorder


def steps_of(learner) -> list[tuple[int, float]]:
    losses = learner.cbstate.metricsstep[TrainingPhase()]["Loss"]
    return list(zip(losses.iterations, losses.values, strict=True))


def test_every_step_and_every_epoch_is_logged_under_its_tag(memory) -> None:
    learner = toy_learner(LogMetrics(memory), Metrics(), Recorder(), nbatches=3)
    learner.fit(2)
    assert memory.tags() == [
        "Step/TrainingPhase/Metrics/Loss",
        "Epoch/TrainingPhase/Metrics/Loss",
        "Step/ValidationPhase/Metrics/Loss",
        "Epoch/ValidationPhase/Metrics/Loss",
    ]
    assert memory.of("Step/TrainingPhase/Metrics/Loss") == steps_of(learner)
    assert [i for i, _ in memory.of("Step/TrainingPhase/Metrics/Loss")] == [1, 2, 3, 4, 5, 6]
    epochs = learner.cbstate.metricsepoch[TrainingPhase()]["Loss"]
    assert memory.of("Epoch/TrainingPhase/Metrics/Loss") == [(1, epochs.values[0]), (2, epochs.values[1])]


def test_a_throttled_logger_logs_the_steps_that_it_sees(memory) -> None:
    learner = toy_learner(Recorder(), Metrics(), throttle(LogMetrics(memory), StepEnd, freq=8))
    learner.fit(1, (learner.data.training,))
    assert [i for i, _ in memory.of("Step/TrainingPhase/Metrics/Loss")] == [1, 9]
    assert [i for i, _ in memory.of("Epoch/TrainingPhase/Metrics/Loss")] == [1]


class Stop(Callback):
    """Raise after a number of steps."""

    state_access = {"cbstate.history": Read}
    run_after = (Recorder,)

    def __init__(self, steps: int, error: Exception) -> None:
        self.steps = steps
        self.error = error

    def on_step_end(self, learner, phase: TrainingPhase) -> None:
        if learner.cbstate.history[phase].steps == self.steps:
            raise self.error


def test_nothing_is_lost_when_the_fit_is_cancelled(memory) -> None:
    learner = toy_learner(Recorder(), Metrics(), LogMetrics(memory), Stop(5, CancelFittingException("enough")))
    assert learner.fit(1).cancelled is not None
    assert memory.of("Step/TrainingPhase/Metrics/Loss") == steps_of(learner)
    assert len(steps_of(learner)) == 5
    assert memory.flushes == 1


def test_nothing_is_lost_when_an_error_ends_the_fit(memory) -> None:
    learner = toy_learner(Recorder(), Metrics(), LogMetrics(memory), Stop(5, RuntimeError("broken")))
    with pytest.raises(RuntimeError, match="broken"):
        learner.fit(1)
    assert memory.of("Step/TrainingPhase/Metrics/Loss") == steps_of(learner)
    assert len(steps_of(learner)) == 5


class Skip(Callback):
    def on_step_begin(self, phase: TrainingPhase) -> None:
        raise CancelStepException


def test_a_cancelled_step_has_nothing_to_log(memory) -> None:
    toy_learner(Recorder(), Metrics(), LogMetrics(memory), Skip()).fit(1)
    assert memory.of("Step/TrainingPhase/Metrics/Loss") == []


def test_a_second_fit_goes_on_where_the_first_one_ended(memory) -> None:
    learner = toy_learner(Recorder(), Metrics(), LogMetrics(memory), nbatches=2)
    learner.fit(1)
    learner.fit(1)
    assert [i for i, _ in memory.of("Step/TrainingPhase/Metrics/Loss")] == [1, 2, 3, 4]
    assert [i for i, _ in memory.of("Epoch/ValidationPhase/Metrics/Loss")] == [1, 2]


def test_a_logger_that_joins_later_logs_what_comes_from_then_on(memory) -> None:
    learner = toy_learner(Recorder(), Metrics(), nbatches=2)
    learner.fit(1)
    learner.add_callback(LogMetrics(memory))
    learner.fit(1)
    assert [i for i, _ in memory.of("Step/TrainingPhase/Metrics/Loss")] == [3, 4]
    assert [i for i, _ in memory.of("Epoch/TrainingPhase/Metrics/Loss")] == [2]


def test_an_epoch_outside_of_a_fit_is_logged_too(memory) -> None:
    learner = toy_learner(Recorder(), Metrics(), LogMetrics(memory), nbatches=2)
    epoch(learner, TrainingPhase())
    assert memory.of("Step/TrainingPhase/Metrics/Loss") == steps_of(learner)


def test_several_backends_get_the_same(new_memory) -> None:
    first, second = new_memory(), new_memory()
    toy_learner(Recorder(), Metrics(), LogMetrics(first, second)).fit(1)
    assert first.rows == second.rows
    assert len(first.rows) == 34


def test_two_loggers_can_share_a_backend(memory) -> None:
    learner = toy_learner(Recorder(), Metrics(), LogMetrics(memory), LogHistograms(memory, freq=None), nbatches=2)
    learner.fit(1)
    assert len(memory.of("Step/TrainingPhase/Metrics/Loss")) == 2
    assert len(memory.of("Step/Histograms/Weights/weight")) == 2


def test_two_loggers_can_share_a_backend_in_threads(memory) -> None:
    learner = toy_learner(
        Recorder(),
        Metrics(),
        LogMetrics(memory, block=1),
        LogHistograms(memory, freq=None),
        runner=ThreadedRunner(),
    )
    learner.fit(1)
    assert memory.of("Step/TrainingPhase/Metrics/Loss") == steps_of(learner)
    assert len(memory.of("Step/Histograms/Weights/weight")) == 16


def test_a_backend_that_fails_does_not_end_the_training(new_memory, warnings) -> None:
    plain = toy_learner(Recorder(), Metrics())
    plain.fit(2)
    broken, whole = new_memory(fail_on=lambda call: True), new_memory()
    learner = toy_learner(Recorder(), Metrics(), LogMetrics(broken, whole))
    assert learner.fit(2).cancelled is None
    assert torch.equal(learner.model.weight, plain.model.weight)
    assert len(whole.rows) == 68
    assert warnings == [
        "LogMetrics could not log 'Step/TrainingPhase/Metrics/Loss' at 1 to Memory: OSError: the disk is full. "
        "Everything else is logged; LogMetrics(..., strict=True) would raise this.",
        "LogMetrics stops logging to Memory for the rest of this fit: it failed 3 times in a row, at last with "
        "OSError: the disk is full.",
    ]


def test_strict_ends_the_training(new_memory) -> None:
    learner = toy_learner(Recorder(), Metrics(), LogMetrics(new_memory(fail_on=lambda call: True), strict=True))
    with pytest.raises(OSError, match="the disk is full"):
        learner.fit(1)


def test_the_rows_of_a_csv_file_are_the_recorded_values(tmp_path) -> None:
    backend = CSVBackend(tmp_path / "log.csv")
    learner = toy_learner(Recorder(), Metrics(), LogMetrics(backend), nbatches=2)
    learner.fit(1)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[1:3] == [f"Step/TrainingPhase/Metrics/Loss,{i},{value!r}" for i, value in steps_of(learner)]
    assert len(lines) == 7


def test_without_metrics_it_is_refused(memory) -> None:
    with pytest.raises(CallbackConflictError, match="LogMetrics"):
        toy_learner(LogMetrics(memory))


def test_without_a_backend_it_is_refused() -> None:
    with pytest.raises(ArgumentValueError, match=r"LogMetrics has no backend\.\nFix: .*\n    LogMetrics\(CSVBackend"):
        LogMetrics()


def test_it_only_reads(memory: LoggerBackend) -> None:
    assert accesses(LogMetrics(memory), Read) == {"cbstate.metricsstep", "cbstate.metricsepoch"}
    assert accesses(LogMetrics(memory), Write) == set()


def test_it_runs_after_the_metrics_in_every_phase(memory) -> None:
    logger, metrics, recorder = LogMetrics(memory), Metrics(), Recorder()
    learner = toy_learner(logger, metrics, recorder)
    assert learner.ordering.order(StepEnd, TrainingPhase) == (recorder, metrics, logger)
    assert learner.ordering.order(StepEnd, Phase) == (recorder, metrics, logger)


class ValidateWithin(Callback):
    """Validate after every second training step."""

    state_access = {"loop": Write}

    def __init__(self, name: str) -> None:
        self.name = name

    def on_step_end(self, learner, phase: TrainingPhase) -> None:
        if learner.progress.step % 2 == 0:
            learner.loop.epoch(ValidationPhase())


@pytest.mark.parametrize("name", ["A", "Z"])  # before the logger in the order, and after it
@pytest.mark.parametrize("runner", [LinearRunner, ThreadedRunner])
def test_a_validation_inside_of_steps_has_each_of_its_points_once_and_in_order(memory, name, runner) -> None:
    learner = toy_learner(Recorder(), Metrics(), LogMetrics(memory), ValidateWithin(name), nbatches=4, runner=runner())
    learner.fit(2)
    for phase, steps, epochs in ((TrainingPhase(), 8, 2), (ValidationPhase(), 6 * 4, 6)):
        for kind, recorded, count in (("Step", "metricsstep", steps), ("Epoch", "metricsepoch", epochs)):
            series = learner.cbstate[recorded][phase]["Loss"]
            logged = memory.of(f"{kind}/{type(phase).__name__}/Metrics/Loss")
            assert logged == list(zip(series.iterations, series.values, strict=True))
            assert [i for i, _ in logged] == list(range(1, count + 1))


@pytest.mark.parametrize("runner", [LinearRunner, ThreadedRunner])
@pytest.mark.parametrize("name", ["A", "Z"])
def test_an_interrupt_in_a_handler_leaves_a_file_that_is_whole(tmp_path, runner, name) -> None:
    path = tmp_path / "log.csv"
    stop = Stop(5, KeyboardInterrupt())
    stop.name = name
    learner = toy_learner(
        Recorder(),
        Metrics(),
        LogMetrics(CSVBackend(path)),
        LogHistograms(CSVBackend(tmp_path / "b.csv")),
        stop,
        runner=runner(),
    )
    with pytest.raises(KeyboardInterrupt):
        learner.fit(1)
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    logged = [(int(i), float(value)) for _, i, value in rows]
    assert path.read_bytes().endswith(b"\n")
    assert logged == steps_of(learner)[: len(logged)]
    assert len(logged) in (4, 5)  # of the step that was interrupted, the logger may have seen the end, or not
    learner.remove_callback(Stop)
    learner.fit(1)
    assert len(path.read_text().splitlines()) > 1 + 16 + 1


def test_a_logger_that_joins_a_second_learner_logs_all_of_it_behind_the_first(tmp_path) -> None:
    callbacks = [Recorder(), Metrics(), LogMetrics(CSVBackend(tmp_path / "log.csv"))]
    for count in (1, 2, 3):
        toy_learner(*callbacks, nbatches=2).fit(1)
        rows = (tmp_path / "log.csv").read_text().splitlines()[1:]
        assert len(rows) == 6 * count
        assert rows == rows[:6] * count


def test_in_a_fit_that_validates_by_steps_training_and_validation_stand_at_the_training_steps(memory) -> None:
    learner = toy_learner(LogMetrics(memory), Metrics(), Recorder(), nbatches=4)
    learner.fit(steps=10, validate_every=3)
    intervals = learner.cbstate.metricsepoch.intervals
    for phase in (TrainingPhase(), ValidationPhase()):
        losses = intervals[phase]["Loss"]
        logged = memory.of(f"Interval/{type(phase).__name__}/Metrics/Loss")
        assert logged == list(zip(losses.iterations, losses.values, strict=True))
        assert [step for step, _ in logged] == [3, 6, 9]
    assert [epoch for epoch, _ in memory.of("Epoch/ValidationPhase/Metrics/Loss")] == [1, 2, 3]
