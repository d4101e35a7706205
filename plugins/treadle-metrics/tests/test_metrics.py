import pytest
import torch
from treadle import (
    CallbackConflictError,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CustomCallback,
    Read,
    StepBegin,
    StepEnd,
    TrainingPhase,
    ValidationPhase,
    accesses,
    epoch,
    step,
    toy_learner,
)
from treadle.errors import ArgumentError, ArgumentValueError
from treadle_metrics import Loss, Metric, Metrics, Recorder, SmoothLoss, accuracy


def names(callback):
    return [metric.name for metric in callback.metrics]


def right(yhats, ys):
    return (yhats == ys).float().mean()


def epochs(learner, phase, name="Loss"):
    series = learner.cbstate.metricsepoch[phase][name]
    return list(zip(series.iterations, series.values, strict=True))


def steps(learner, phase, name="Loss"):
    series = learner.cbstate.metricsstep[phase][name]
    return list(zip(series.iterations, series.values, strict=True))


def test_the_loss_is_always_there_and_first():
    assert names(Metrics()) == ["Loss"]
    assert names(Metrics(accuracy, SmoothLoss())) == ["Loss", "Accuracy", "SmoothLoss"]


def test_a_loss_that_was_given_is_the_one():
    loss = Loss()
    metrics = Metrics(accuracy, loss)
    assert names(metrics) == ["Loss", "Accuracy"]
    assert metrics.metrics[0] is loss


def test_steps_and_epochs_of_each_phase_are_recorded():
    learner = toy_learner(Recorder(), Metrics(), nbatches=2)
    learner.fit(2)
    for phase in (TrainingPhase(), ValidationPhase()):
        losses = [value for _, value in steps(learner, phase)]
        assert [i for i, _ in steps(learner, phase)] == [1, 2, 3, 4]
        assert epochs(learner, phase) == [(1, (losses[0] + losses[1]) / 2), (2, (losses[2] + losses[3]) / 2)]


def test_the_recorded_loss_is_the_losss_own_value():
    learner = toy_learner(Recorder(), Metrics(), nbatches=1)
    seen = []
    note = CustomCallback(
        lambda learner: seen.append(learner.step.loss.item()), StepEnd, TrainingPhase, {"step.loss": Read}
    )
    learner.add_callback(note)
    learner.fit(3)
    assert list(learner.cbstate.metricsstep[TrainingPhase()]["Loss"].values) == seen


def test_a_phase_that_has_not_run_has_an_empty_record():
    learner = toy_learner(Recorder(), Metrics())
    assert learner.cbstate.metricsstep[TrainingPhase()] == {}
    assert learner.cbstate.metricsepoch[TrainingPhase()] == {}


def test_a_name_that_is_not_recorded_says_what_is(scripted):
    learner = toy_learner(Recorder(), Metrics())
    epoch(learner, scripted, [1.0])
    with pytest.raises(KeyError, match=r"Nothing is recorded here as 'loss'. .*Loss"):
        learner.cbstate.metricsepoch[scripted]["loss"]


def test_a_cancelled_step_does_not_count(scripted):
    class Second(type(scripted)):
        def step(self, learner, batch):
            if batch == 2.0:
                raise CancelStepException
            super().step(learner, batch)

    learner = toy_learner(Recorder(), Metrics())
    epoch(learner, Second(), [1.0, 2.0, 3.0])
    assert steps(learner, Second()) == [(1, 1.0), (2, 3.0)]
    assert epochs(learner, Second()) == [(1, 2.0)]


def cancelling(exception):
    count = []

    def cancel(learner):
        count.append(None)
        if len(count) == 3:
            raise exception

    return CustomCallback(cancel, StepBegin, TrainingPhase)


def test_a_cancelled_epoch_has_the_mean_of_the_steps_it_had():
    learner = toy_learner(Recorder(), Metrics(), cancelling(CancelEpochException()))
    learner.fit(1)
    losses = [value for _, value in steps(learner, TrainingPhase())]
    assert epochs(learner, TrainingPhase()) == [(1, (losses[0] + losses[1]) / 2)]


def test_after_a_cancelled_fit_the_next_epoch_starts_at_nothing():
    learner = toy_learner(Recorder(), Metrics(), cancelling(CancelFittingException()), nbatches=4)
    learner.fit(1)
    learner.fit(1)
    losses = [value for _, value in steps(learner, TrainingPhase())]
    assert len(losses) == 2 + 4
    assert epochs(learner, TrainingPhase()) == [(1, pytest.approx(sum(losses[2:]) / 4, rel=1e-15))]


def test_steps_outside_of_an_epoch_are_recorded(scripted):
    learner = toy_learner(Recorder(), Metrics())
    for loss in (1.0, 2.0):
        step(learner, scripted, loss)
    assert steps(learner, scripted) == [(1, 1.0), (2, 2.0)]
    assert learner.cbstate.metricsepoch[scripted] == {}


@pytest.mark.parametrize("metrics", [Metrics, lambda: Metrics(SmoothLoss()), lambda: Metrics(right)])
def test_an_epoch_inside_of_another_leaves_its_mean_alone(scripted, other, metrics):
    class Outer(type(scripted)):
        def step(self, learner, batch):
            super().step(learner, batch)
            if batch == 2.0:
                epoch(learner, other, [10.0, 20.0])

    learner = toy_learner(Recorder(), metrics())
    epoch(learner, Outer(), [1.0, 2.0, 6.0])
    assert epochs(learner, Outer()) == [(1, 3.0)]
    assert epochs(learner, other) == [(1, 15.0)]
    assert steps(learner, Outer()) == [(1, 1.0), (2, 2.0), (3, 6.0)]


def test_an_epoch_inside_of_the_last_step_leaves_the_mean_alone(scripted, other):
    class Outer(type(scripted)):
        def step(self, learner, batch):
            super().step(learner, batch)
            epoch(learner, other, [10.0])

    learner = toy_learner(Recorder(), Metrics())
    epoch(learner, Outer(), [1.0, 2.0])
    assert epochs(learner, Outer()) == [(1, 1.5)]


def test_steps_of_another_phase_between_those_of_an_epoch_leave_its_mean_alone(scripted, other):
    class Outer(type(scripted)):
        def step(self, learner, batch):
            super().step(learner, batch)
            step(learner, other, 10.0)

    learner = toy_learner(Recorder(), Metrics())
    epoch(learner, Outer(), [1.0, 2.0])
    assert epochs(learner, Outer()) == [(1, 1.5)]
    assert steps(learner, other) == [(1, 10.0), (2, 10.0)]


def test_equal_phases_share_their_records(scripted):
    learner = toy_learner(Recorder(), Metrics())
    epoch(learner, type(scripted)(), [1.0])
    epoch(learner, type(scripted)(), [3.0])
    assert epochs(learner, scripted) == [(1, 1.0), (2, 3.0)]


def test_changing_the_callbacks_keeps_what_was_recorded(scripted):
    learner = toy_learner(Recorder(), Metrics())
    epoch(learner, scripted, [1.0])
    learner.replace_callback(Metrics(SmoothLoss()))
    epoch(learner, scripted, [2.0])
    assert epochs(learner, scripted) == [(1, 1.0), (2, 2.0)]
    assert epochs(learner, scripted, "SmoothLoss") == [(2, pytest.approx(2.0, rel=1e-12))]


def test_it_declares_what_its_metrics_read_and_no_more():
    assert accesses(Metrics(), Read) == {"cbstate.history", "step.loss"}
    assert accesses(Metrics(accuracy), Read) == {"cbstate.history", "step.loss", "step.yhats", "step.ys"}


def test_it_needs_a_recorder():
    with pytest.raises(CallbackConflictError, match=r"cbstate\.history"):
        toy_learner(Metrics())


def test_it_runs_after_the_recorder_in_whatever_order_they_are_given(scripted):
    learner = toy_learner(Metrics(), Recorder())
    epoch(learner, scripted, [5.0])
    assert steps(learner, scripted) == [(1, 5.0)]


def saved_in_the_middle(make, phase, losses, at):
    """Run an epoch; what a checkpoint after `at` steps holds, and the learner."""
    learner = toy_learner(Recorder(), make())
    epoch(learner, phase, [9.0])
    saved = []

    def save(learner):
        if len(saved) == 0 and inner.cbstate.history[phase].steps_epoch == at:
            entries = {name: entry.state_dict() for name, entry in inner.cbstate.items()}
            saved.append((entries, {type(each): each.state_dict() for each in inner.callbacks[:2]}))

    inner = learner
    learner.add_callback(CustomCallback(save, StepBegin, type(phase)))
    epoch(learner, phase, losses)
    return saved[0], learner


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("make", [Metrics, lambda: Metrics(SmoothLoss(beta=0.9))])
def test_a_run_resumed_in_the_middle_of_an_epoch_records_the_same(scripted, make, at):
    losses = [0.1, 0.2, 0.7]
    (entries, states), whole = saved_in_the_middle(make, scripted, losses, at)
    resumed = toy_learner(Recorder(), make())
    for name, state in entries.items():
        resumed.cbstate[name].load_state_dict(state)
    for callback in resumed.callbacks:
        callback.load_state_dict(states[type(callback)])
    epoch(resumed, scripted, losses[at:])
    for entry in ("history", "metricsstep", "metricsepoch"):
        assert resumed.cbstate[entry] == whole.cbstate[entry]


def test_a_state_of_other_metrics_is_refused():
    state = Metrics(accuracy).state_dict()
    with pytest.raises(ArgumentValueError, match=r"has the metrics Loss, Accuracy, and Metrics has Loss. Resume"):
        Metrics().load_state_dict(state)


def test_two_metrics_of_one_name_are_refused_with_the_mend():
    with pytest.raises(ArgumentValueError, match=r"2 metrics with the name 'Accuracy'.*name=\"Accuracy 2\""):
        Metrics(accuracy, Metric(accuracy, phase=ValidationPhase))


def test_a_metric_must_not_take_the_losss_name():
    with pytest.raises(ArgumentValueError, match="2 metrics with the name 'Loss'"):
        Metrics(Metric(accuracy, name="Loss"))


def test_a_class_is_refused_with_the_instance_to_write():
    with pytest.raises(ArgumentError, match=r"SmoothLoss is a class, not a metric.*Metrics\(SmoothLoss\(\)\)"):
        Metrics(SmoothLoss)


def test_no_step_waits_for_the_device_and_the_epochs_end_does_not_either(scripted, far):
    learner = toy_learner(Recorder(), Metrics(SmoothLoss()))
    epoch(learner, scripted, [far(torch.tensor(float(i))) for i in range(100)])
    assert far.waits == []
    assert epochs(learner, scripted) == [(1, 49.5)]
    assert len(far.waits) == 1
