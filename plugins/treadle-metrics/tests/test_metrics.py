import threading

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
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_metrics import Loss, Metric, MetricError, Metrics, Recorder, SmoothLoss, accuracy
from treadle_metrics.measurement import fresh


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


def test_a_loss_among_the_metrics_is_used():
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


class Unsaveable(Loss):
    """A metric whose running values cannot be saved."""

    def state_dict(self):
        raise MetricError("No checkpoint can hold it.")


def test_an_epoch_inside_of_another_needs_no_metric_that_can_be_saved(scripted, other):
    class Outer(type(scripted)):
        def step(self, learner, batch):
            super().step(learner, batch)
            epoch(learner, other, [10.0])

    learner = toy_learner(Recorder(), Metrics(Unsaveable()))
    epoch(learner, Outer(), [1.0, 2.0])
    assert epochs(learner, Outer(), "Unsaveable") == [(1, 1.5)]
    assert epochs(learner, other, "Unsaveable") == [(1, 10.0), (2, 10.0)]


def test_a_metric_that_cannot_be_copied_is_refused_by_name_where_an_epoch_runs_inside_of_another(scripted, other):
    class Locked(Loss):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

    class Outer(type(scripted)):
        def step(self, learner, batch):
            super().step(learner, batch)
            epoch(learner, other, [10.0])

    learner = toy_learner(Recorder(), Metrics(Locked()))
    epoch(learner, scripted, [1.0])
    with pytest.raises(
        ArgumentTypeError, match=r"'Locked' cannot be copied, .* TypeError: .*lock.*\nFix: define Locked\.__deepcopy__"
    ):
        epoch(learner, Outer(), [1.0])


def test_a_net_that_a_metric_measures_with_is_shared_with_its_copies():
    class Net(torch.nn.Linear):
        def forward(self, yhats, ys):
            return super().forward(yhats).mean()

    metric = Metric(Net(1, 1))
    copy = fresh(metric)
    assert copy.fn is not metric.fn
    assert copy.fn.weight is metric.fn.weight


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

    learner = toy_learner(Recorder(), Metrics(SmoothLoss(beta=0.5)))
    epoch(learner, Outer(), [1.0, 2.5])
    assert epochs(learner, Outer()) == [(1, 1.75)]
    assert epochs(learner, Outer(), "SmoothLoss") == [(1, 2.0)]
    assert steps(learner, other) == steps(learner, other, "SmoothLoss") == [(1, 10.0), (2, 10.0)]


def test_an_epoch_without_a_finished_step_inside_of_another_leaves_its_mean_alone(scripted):
    class Cancelled(type(scripted)):
        def step(self, learner, batch):
            raise CancelStepException

    class Outer(type(scripted)):
        def step(self, learner, batch):
            super().step(learner, batch)
            epoch(learner, Cancelled(), [10.0])

    learner = toy_learner(Recorder(), Metrics())
    epoch(learner, Outer(), [1.0, 2.0])
    assert epochs(learner, Outer()) == [(1, 1.5)]
    assert learner.cbstate.metricsepoch[Cancelled()] == {}


def test_of_epochs_that_have_ended_nothing_is_kept(scripted, other):
    learner = toy_learner(Recorder(), Metrics())
    for phase in (scripted, other, scripted):
        epoch(learner, phase, [1.0])
    assert learner.get_callback(Metrics).state_dict()["measured"] == {}


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


def test_it_declares_only_what_its_metrics_read():
    assert accesses(Metrics(), Read) == {"cbstate.history", "step.loss", "step.xs"}
    assert accesses(Metrics(accuracy), Read) == {"cbstate.history", "step.loss", "step.xs", "step.yhats", "step.ys"}


def test_it_needs_a_recorder():
    with pytest.raises(CallbackConflictError, match=r"cbstate\.history"):
        toy_learner(Metrics())


def test_it_runs_after_the_recorder_whatever_the_order_of_the_list(scripted):
    learner = toy_learner(Metrics(), Recorder())
    epoch(learner, scripted, [5.0])
    assert steps(learner, scripted) == [(1, 5.0)]


class WithValidation(TrainingPhase):
    """Validates after its second step, and makes one step of validation after each."""

    def step(self, learner, batch):
        super().step(learner, batch)
        step(learner, ValidationPhase(), batch)
        if learner.progress.step == 2:
            epoch(learner, ValidationPhase())


@pytest.mark.parametrize("phases", [[TrainingPhase(), ValidationPhase()], [WithValidation()]])
@pytest.mark.parametrize("make", [Metrics, lambda: Metrics(SmoothLoss(beta=0.9), right)])
def test_resumed_anywhere_it_records_the_same(resumed_everywhere, make, phases):
    positions = resumed_everywhere(lambda: toy_learner(Recorder(), make(), nbatches=3), *phases)
    assert positions == 2 * len(phases) * (1 + 2 * 3)


def test_training_continues_from_a_state_that_is_loaded_between_two_steps(scripted, other):
    saved, learner = (toy_learner(Recorder(), Metrics(SmoothLoss(beta=0.5))) for _ in range(2))
    step(saved, other, 4.0)
    step(learner, scripted, 1.0)
    learner.get_callback(Metrics).load_state_dict(saved.get_callback(Metrics).state_dict())
    step(learner, scripted, 2.0)
    assert steps(learner, scripted, "SmoothLoss") == [(1, 1.0), (2, 2.0)]


def test_a_state_of_other_metrics_is_refused():
    state = Metrics(accuracy).state_dict()
    with pytest.raises(
        ArgumentValueError, match=r"has the metrics Loss, Accuracy, and Metrics has Loss\.\nFix: resume with the same"
    ):
        Metrics().load_state_dict(state)


def test_two_metrics_of_one_name_are_refused_with_the_fix():
    with pytest.raises(
        ArgumentValueError, match=r"2 metrics with the name 'Accuracy'\.\n.*\n    .*name=\"Accuracy 2\""
    ):
        Metrics(accuracy, Metric(accuracy, phase=ValidationPhase))


def test_a_metric_must_not_take_the_losss_name():
    with pytest.raises(ArgumentValueError, match="2 metrics with the name 'Loss'"):
        Metrics(Metric(accuracy, name="Loss"))


def test_a_class_is_refused_with_the_instance_to_write():
    with pytest.raises(
        ArgumentTypeError, match=r"SmoothLoss is a class, not a metric\.\n.*\n    Metrics\(SmoothLoss\(\)\)"
    ):
        Metrics(SmoothLoss)


def test_no_step_waits_for_the_device_and_the_epochs_end_does_not_either(scripted, far):
    learner = toy_learner(Recorder(), Metrics(SmoothLoss()))
    epoch(learner, scripted, [far(torch.tensor(float(i))) for i in range(100)])
    assert far.waits == []
    assert epochs(learner, scripted) == [(1, 49.5)]
    assert len(far.waits) == 1
