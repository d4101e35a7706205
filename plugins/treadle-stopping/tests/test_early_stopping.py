import itertools
import math
from datetime import timedelta

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from treadle import (
    AbstractTrainingPhase,
    ArgumentTypeError,
    ArgumentValueError,
    Callback,
    CallbackConflictError,
    CancelStepException,
    CustomCallback,
    EpochEnd,
    Learner,
    LossBegin,
    Phase,
    PropDict,
    Read,
    Series,
    StepEnd,
    TrainingPhase,
    ValidationPhase,
    Write,
    accesses,
    run_step,
    toy_learner,
)
from treadle_stopping import (
    GL,
    PQ,
    EarlyStop,
    EarlyStopping,
    InvalidValue,
    Never,
    NumberLimit,
    NumberSinceBest,
    Patience,
    Threshold,
    TimeLimit,
    stopping_time,
)

EVERY = [
    Never(),
    InvalidValue(),
    TimeLimit(1),
    NumberLimit(3),
    NumberSinceBest(2),
    Patience(2),
    Threshold(0.5),
    GL(10),
    PQ(0.75, 3),
    Patience(2) + InvalidValue() + GL(20) + PQ(1.0, 2),
]


class Script:
    """Data that give each step of each epoch the loss that is written for it; they train nothing."""

    def __init__(self, *epochs):
        self.epochs = iter(epochs)

    def __iter__(self):
        return iter([(torch.zeros(1, 1), torch.full((1, 1), loss)) for loss in next(self.epochs)])


class Numbers(Script):
    """Data whose epochs have one batch each, a number."""

    def __iter__(self):
        return iter([next(self.epochs)])


def validation(*losses):
    return Script(*([loss] for loss in losses))


ANYTHING = Script(*[[1.0]] * 100)


class Clock:
    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        return self.now

    def go_on(self, seconds):
        self.now += seconds


class Weights(Callback):
    """Notes the weight at the end of each training epoch."""

    state_access = {"model": Read}

    def __init__(self):
        self.seen = []

    def on_epoch_end(self, learner, phase: TrainingPhase):
        self.seen.append(learner.model.weight.item())


class Scores(Callback):
    """Writes an epoch metric of its own, as `Metrics` does."""

    state_access = {"cbstate.metricsepoch": Write}

    def __init__(self, **scores):
        self.scores = {name: iter(values) for name, values in scores.items()}

    def on_init(self, learner):
        learner.cbstate.metricsepoch = {}

    def on_epoch_end(self, learner, phase: ValidationPhase):
        series = learner.cbstate.metricsepoch.setdefault(phase, {})
        for name, values in self.scores.items():
            series.setdefault(name, Series()).push(1, next(values))


# What it stops, and how.


def test_a_number_is_patience():
    stopping = EarlyStopping(2)
    result = toy_learner(stopping).fit(10, (ANYTHING, validation(3.0, 2.0, 2.5, 2.25, 2.5, 2.75, 1.0)))
    assert result.epochs == 6
    assert result.cancelled.criterion == Patience(2)
    assert result.cancelled.callback is stopping
    assert str(result.cancelled) == ("Stopped early by Patience(n=2): the loss has risen 2 times in a row, to 2.75.")


def test_of_several_criteria_the_one_that_is_met_is_reported():
    stopping = EarlyStopping(3, NumberLimit(4), InvalidValue() + Threshold(0.5))
    assert stopping.stopper.criterion == Patience(3) + NumberLimit(4) + InvalidValue() + Threshold(0.5)
    result = toy_learner(stopping).fit(10, (ANYTHING, validation(3.0, 0.25)))
    assert (result.epochs, result.cancelled.criterion) == (2, Threshold(0.5))


def test_the_out_of_sample_loss_is_the_mean_over_the_epochs_steps():
    data = (ANYTHING, Script([1.0, 3.0], [0.0, 3.0]))
    assert toy_learner(EarlyStopping(Threshold(1.6))).fit(5, data).epochs == 2


def test_a_fit_that_meets_no_criterion_is_not_cancelled():
    result = toy_learner(EarlyStopping(2)).fit(3)
    assert (result.epochs, result.steps, result.cancelled) == (3, 48, None)


@pytest.mark.parametrize("criterion", EVERY, ids=lambda criterion: criterion.kind)
@pytest.mark.parametrize("parts", [1, 2])
def test_every_criterion_works_with_a_plain_fit_with_and_without_validation(criterion, parts):
    learner = toy_learner(EarlyStopping(criterion))
    learner.data = PropDict(dict(list(learner.data.items())[:parts]))
    result = learner.fit(3)
    assert result.cancelled is None or isinstance(result.cancelled, EarlyStop)
    assert result.epochs == (1 if result.cancelled and criterion.kind.endswith("PQ") else 3)


numbers = st.floats(0.125, 8.0, width=16)
scripts = st.lists(st.tuples(st.lists(numbers, min_size=2, max_size=4), numbers), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(EVERY), scripts)
def test_fit_stops_at_the_criterions_stopping_time(criterion, script):
    fed = [pair for train, test in script for pair in [*((loss, True) for loss in train), (test, False)]]
    time = stopping_time(criterion, [loss for loss, _ in fed], [training for _, training in fed])
    data = (Script(*(train for train, _ in script)), validation(*(test for _, test in script)))
    result = toy_learner(EarlyStopping(criterion)).fit(len(script), data)
    assert (result.epochs, result.cancelled is not None) == (time or len(script), time > 0)


def test_pq_is_fed_the_losses_of_the_training_steps():
    train = Script([9.5, 9.25], [9.25, 9.0, 8.75], [8.25, 8.5])
    result = toy_learner(EarlyStopping(PQ(alpha=0.75, k=2))).fit(9, (train, validation(10.0, 8.0, 9.0)))
    assert (result.epochs, result.steps) == (3, 7)
    assert str(result.cancelled).endswith("is 12.5 % above its minimum, 8, and training's progress is 15.15.")


def test_pq_waits_where_epochs_have_one_step():
    result = toy_learner(EarlyStopping(PQ())).fit(3, (ANYTHING, validation(1.0, 5.0, 25.0)))
    assert (result.epochs, result.cancelled) == (3, None)


def test_without_validation_data_the_mean_training_loss_stands_in():
    train = Script([1.0, 3.0], [0.0, 2.0], [1.0, 2.0], [1.0, 3.0], [0.0, 0.0])
    result = toy_learner(EarlyStopping(2)).fit(5, (train,))
    assert result.epochs == 4
    assert str(result.cancelled).endswith("the loss has risen 2 times in a row, to 2.")


def test_an_invalid_training_loss_stops_at_the_end_of_its_epoch():
    validations = []
    spy = CustomCallback(lambda _: validations.append(1), StepEnd, ValidationPhase)
    data = (Script([1.0], [1.0, math.inf, 1.0], [1.0]), validation(1.0, 1.0, 1.0))
    result = toy_learner(EarlyStopping(InvalidValue()), spy).fit(3, data)
    assert (result.epochs, result.steps, len(validations)) == (2, 4, 1)
    assert result.cancelled.criterion == InvalidValue()


def test_the_clock_starts_with_the_fit():
    clock = Clock()
    passing = CustomCallback(lambda _: clock.go_on(10), StepEnd, TrainingPhase)
    limit = TimeLimit(timedelta(seconds=25), clock=clock)
    learner = toy_learner(EarlyStopping(limit), passing)
    assert learner.fit(10, (ANYTHING, validation(*[1.0] * 10))).epochs == 3
    clock.go_on(1000)
    assert learner.fit(10, (ANYTHING, validation(*[1.0] * 10))).epochs == 3


@pytest.mark.parametrize("name", ["A", "Z"])
def test_all_other_callbacks_see_the_end_of_the_last_epoch(name):
    ends = []
    spy = CustomCallback(lambda _: ends.append(1), EpochEnd)
    spy.name = name  # before and after EarlyStopping in the order
    result = toy_learner(EarlyStopping(NumberLimit(2)), spy).fit(5)
    assert (result.epochs, len(ends)) == (2, 4)


# Options.


def test_every_fit_starts_again():
    stopping = EarlyStopping(NumberLimit(3))
    learner = toy_learner(stopping)
    assert [learner.fit(n).epochs for n in (2, 2, 5, 5)] == [2, 2, 3, 3]
    assert stopping.best is not None


def test_an_interrupted_fit_leaves_nothing_to_the_next():
    def interrupt(learner, times=iter([True])):  # noqa: B008
        if next(times, False):
            raise KeyboardInterrupt

    learner = toy_learner(EarlyStopping(Threshold(1.75)), CustomCallback(interrupt, StepEnd, ValidationPhase))
    with pytest.raises(KeyboardInterrupt):
        learner.fit(1, (ANYTHING, Script([1.0, 1.0])))
    assert learner.fit(1, (ANYTHING, Script([2.0, 2.0]))).cancelled is None


def test_training_losses_of_an_interrupted_fit_are_not_those_of_the_next():
    def interrupt(learner):
        raise KeyboardInterrupt

    interrupting = CustomCallback(interrupt, StepEnd, TrainingPhase)
    interrupting.name = "Interrupting"  # after EarlyStopping
    learner = toy_learner(EarlyStopping(InvalidValue()), interrupting)
    with pytest.raises(KeyboardInterrupt):
        learner.fit(1, (Script([math.inf]), validation(1.0)))
    assert learner.fit(1, (ANYTHING, validation(1.0)), phases=[ValidationPhase()]).cancelled is None


def test_with_keep_state_the_next_fit_goes_on():
    learner = toy_learner(EarlyStopping(NumberLimit(3), keep_state=True))
    assert [learner.fit(n).epochs for n in (2, 5)] == [2, 1]


@pytest.mark.parametrize("length", [{"n": 5}, {"n": 2, "validate_every": 1}, {"steps": 9, "validate_every": 2}])
def test_and_stops_as_it_begins_if_the_one_before_was_stopped(length):
    stopping = EarlyStopping(NumberLimit(3), start_epoch=1, keep_state=True)
    learner = toy_learner(stopping, nbatches=2)
    stop = learner.fit(**length).cancelled
    steps = learner.progress.steps
    for _ in range(2):
        again = learner.fit(**length)
        assert (again.steps, str(again.cancelled), again.cancelled.callback) == (0, str(stop), stopping)
    assert learner.fit(0).cancelled is None
    assert learner.progress.steps == steps


def test_a_metric_can_be_monitored():
    learner = toy_learner(EarlyStopping(1, monitor="Error"), Scores(Error=[0.5, 0.25, 0.75, 0.1]))
    result = learner.fit(4)
    assert result.epochs == 3
    assert str(result.cancelled).endswith("the loss has risen once, to 0.75. The loss is here Error.")


def test_with_mode_max_a_metric_is_taken_with_its_sign_changed():
    stopping = EarlyStopping(1, monitor="Accuracy", mode="max")
    result = toy_learner(stopping, Scores(Accuracy=[0.5, 0.75, 0.625, 0.9])).fit(4)
    assert (result.epochs, stopping.best) == (3, 0.75)
    assert str(result.cancelled).endswith("to -0.625. The loss is here Accuracy, its sign changed.")
    above = EarlyStopping(Threshold(-0.7), monitor="Accuracy", mode="max")
    assert toy_learner(above, Scores(Accuracy=[0.5, 0.75, 0.625])).fit(3).epochs == 2


def test_a_monitored_metric_needs_a_writer():
    with pytest.raises(CallbackConflictError, match=r"cbstate\.metricsepoch"):
        toy_learner(EarlyStopping(1, monitor="Error"))


def test_a_metric_that_does_not_exist_is_reported_with_those_that_do():
    learner = toy_learner(EarlyStopping(1, monitor="Accurracy"), Scores(Accuracy=[1.0]))
    with pytest.raises(ArgumentValueError, match=r"no such metric in ValidationPhase.*Did you mean `Accuracy`"):
        learner.fit(1)


def test_a_metric_that_does_not_exist_is_reported_as_soon_as_that_is_known():
    metrics = pytest.importorskip("treadle_metrics", reason="treadle-metrics is not installed")

    def steps_before_the_error(monitor, *measured):
        stopping = EarlyStopping(1, monitor=monitor)
        learner = toy_learner(stopping, metrics.Recorder(), metrics.Metrics(*measured), nbatches=3)
        with pytest.raises(ArgumentValueError, match=r"there is no such metric.* Did you mean `\w+`\?\nFix: name a "):
            learner.fit(1)
        return learner.progress.steps, learner.cbstate.history[ValidationPhase()].steps

    def error(yhats, ys):
        return (yhats - ys).abs().mean()

    both = metrics.Metric(lambda yhats, ys: {"recall": 0.5, "precision": 0.25}, name="both")
    in_validation = metrics.Metric(error, name="Error", phase=ValidationPhase)
    assert steps_before_the_error("loss") == (0, 0)
    assert steps_before_the_error("Loss ", metrics.SmoothLoss()) == (0, 0)
    assert steps_before_the_error("error", error) == (1, 0)
    assert steps_before_the_error("Recall", both) == (1, 0)
    assert steps_before_the_error("error", in_validation) == (3, 1)
    learner = toy_learner(
        EarlyStopping(1, monitor="recall"), metrics.Recorder(), metrics.Metrics(both, in_validation), nbatches=3
    )
    assert learner.fit(2).epochs == 2


def test_an_epoch_in_which_nothing_was_measured_is_not_looked_at():
    metrics = pytest.importorskip("treadle_metrics", reason="treadle-metrics is not installed")

    class Cancels(Callback):
        def on_step_begin(self, learner, phase: ValidationPhase):
            if learner.progress.epoch in (2, 3):
                raise CancelStepException("not this one")

    stopping = EarlyStopping(patience=2, monitor="Loss")
    learner = toy_learner(stopping, Cancels(), metrics.Recorder(), metrics.Metrics(), nbatches=2)
    assert learner.fit(4).epochs == 4
    recorded = learner.cbstate.metricsepoch[ValidationPhase()]["Loss"]
    assert (len(recorded), stopping.best) == (2, min(recorded.values))


def test_what_it_declares_depends_on_its_options():
    assert accesses(EarlyStopping(1), Read) == {"step.loss", "step.xs"}
    assert accesses(EarlyStopping(1, weight=None), Read) == {"step.loss"}
    assert accesses(EarlyStopping(1, weight=lambda step: 1), Read) == {"step.loss", "step"}
    assert accesses(EarlyStopping(1, monitor="Error"), Read) == {"cbstate.metricsepoch"}
    assert accesses(EarlyStopping(PQ(), monitor="Error"), Read) == {"cbstate.metricsepoch", "step.loss"}
    assert accesses(EarlyStopping(1), Write) == set()
    assert accesses(EarlyStopping(1, restore_best=True), Write) == {"model"}


#: How a loss is weighed, and the mean of the losses 3, of 2 rows, and 15, of 1 row.
WEIGHTS = {
    "rows": ("rows", 7.0),
    "all the same": (None, 9.0),
    "a function": (lambda step: torch.where(step.ys > 4, 6.0, 1.0).sum(), 12.0),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_it_sees_the_loss_that_metrics_records_if_both_weigh_alike(name):
    metrics = pytest.importorskip("treadle_metrics", reason="treadle-metrics is not installed")
    weight, mean = WEIGHTS[name]
    plain, monitoring = EarlyStopping(NumberLimit(2), weight=weight), EarlyStopping(NumberLimit(2), monitor="Loss")
    measured = metrics.Metrics(metrics.Loss(weight=weight))
    data = [(torch.zeros(2, 1), torch.tensor([[3.0], [3.0]])), (torch.zeros(1, 1), torch.tensor([[15.0]]))]
    learner = toy_learner(plain, monitoring, metrics.Recorder(), measured)
    assert learner.fit(5, ([(torch.zeros(1, 1), torch.zeros(1, 1))], data)).epochs == 2
    recorded = learner.cbstate.metricsepoch[ValidationPhase()]["Loss"].values
    assert (plain.best, monitoring.best, recorded) == (mean, mean, [mean, mean])


def test_phases_without_inputs_weigh_all_the_same():
    losses = iter([1.0, 2.0, 6.0])

    class Generates(Phase):
        data_name = "training"

        def step(self, learner, batch):
            with run_step(learner, self) as (_, state):
                state.loss = torch.tensor(next(losses))

    stopping = EarlyStopping(NumberLimit(1), test_phase=Generates)
    toy_learner(stopping, nbatches=3).fit(1, phases=[Generates()])
    assert stopping.best == 3.0


# Restoring the best weights.


def trained(*losses, **options):
    """A toy learner's last weight, and those after each epoch, with scripted losses of validation."""
    weights = Weights()
    learner = toy_learner(EarlyStopping(Never(), restore_best=True, **options), weights)
    learner.fit(len(losses), (learner.data.training, validation(*losses)))
    return learner.model.weight.item(), weights.seen


def test_restore_best_ends_with_the_weights_of_the_best_epoch():
    weight, seen = trained(3.0, 1.0, 2.0, 1.0, 4.0)
    assert len(set(seen)) == 5
    assert weight == seen[1]


def test_a_value_that_is_not_finite_is_never_the_best():
    weight, seen = trained(math.nan, 3.0, math.nan, math.inf)
    assert weight == seen[1]


def test_only_a_lower_finite_value_is_a_new_best():
    values, seen = [math.nan, 2.0, 2.0, -math.inf, math.inf, 1.0, math.nan, 1.5], []
    stopping = EarlyStopping(Never())
    note = CustomCallback(lambda _: seen.append(stopping.best), EpochEnd, ValidationPhase)
    note.name = "Note"  # after EarlyStopping
    toy_learner(stopping, note).fit(len(values), (ANYTHING, validation(*values)))
    assert seen == [None, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0]


def test_buffers_are_restored_as_well_and_all_tensors_stay_where_they_are():
    model = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    tensors = [*model.parameters(), *model.buffers()]
    stopping = EarlyStopping(Never(), restore_best=True)
    learner = Learner(model, nn.functional.mse_loss, callbacks=[stopping], use_default_callbacks=False)
    xs = torch.linspace(0, 1, 8).reshape(8, 1)
    learner.fit(3, ([(xs, xs)], validation(1.0, 2.0, 3.0)))
    assert model[1].num_batches_tracked.item() == 1
    assert all(one is other for one, other in zip([*model.parameters(), *model.buffers()], tensors, strict=True))


def test_without_any_best_the_weights_stay():
    weight, seen = trained(math.nan, math.nan)
    assert weight == seen[1]


def test_without_restore_best_the_weights_stay():
    learner, weights = toy_learner(EarlyStopping(1)), Weights()
    learner.add_callback(weights)
    result = learner.fit(5, (learner.data.training, validation(1.0, 2.0, 3.0)))
    assert result.epochs == 2
    assert learner.model.weight.item() == weights.seen[1] != weights.seen[0]


def test_restore_best_follows_the_monitored_metric():
    weights = Weights()
    stopping = EarlyStopping(2, monitor="Accuracy", mode="max", restore_best=True)
    learner = toy_learner(stopping, weights, Scores(Accuracy=[0.1, 0.9, 0.5, 0.3]))
    assert learner.fit(9).epochs == 4
    assert learner.model.weight.item() == weights.seen[1]


def test_the_best_weights_are_restored_also_after_an_error():
    def fail(learner):
        raise RuntimeError("The disk is full.")

    weights = Weights()
    learner = toy_learner(EarlyStopping(Never(), restore_best=True), weights)
    learner.fit(2, (learner.data.training, validation(1.0, 2.0)))
    learner.add_callback(CustomCallback(fail, EpochEnd, ValidationPhase))
    with pytest.raises(RuntimeError, match="The disk is full"):
        learner.fit(2, (learner.data.training, validation(1.0, 2.0)))
    assert learner.model.weight.item() == weights.seen[2]


def test_the_best_of_one_fit_is_not_that_of_the_next():
    weights = Weights()
    learner = toy_learner(EarlyStopping(Never(), restore_best=True), weights)
    for losses in ((0.25, 2.0), (1.0, 0.5)):
        learner.fit(2, (learner.data.training, validation(*losses)))
    assert learner.model.weight.item() == weights.seen[3]


def test_best_weights_of_a_saved_state_are_restored_only_if_asked_for():
    saving = EarlyStopping(Never(), restore_best=True, keep_state=True)
    learner = toy_learner(saving)
    learner.fit(2, (learner.data.training, validation(0.25, 2.0)))
    resuming = EarlyStopping(Never(), keep_state=True)
    resuming.load_state_dict(saving.state_dict())
    learner = toy_learner(resuming)
    learner.fit(0)
    assert (resuming.best, learner.model.weight.item()) == (0.25, toy_learner().model.weight.item())


def test_with_keep_state_the_best_is_that_of_all_fits():
    weights = Weights()
    learner = toy_learner(EarlyStopping(Never(), restore_best=True, keep_state=True), weights)
    for losses in ((0.25, 2.0), (1.0, 0.5)):
        learner.fit(2, (learner.data.training, validation(*losses)))
    assert learner.model.weight.item() == weights.seen[0]


def test_two_that_would_restore_are_refused():
    with pytest.raises(CallbackConflictError, match=r"Both would restore weights.*restore_best=True\)"):
        toy_learner(EarlyStopping(1, restore_best=True), EarlyStopping(PQ(), restore_best=True))
    toy_learner(EarlyStopping(1, restore_best=True), EarlyStopping(PQ()))


def test_the_restored_weights_are_not_overwritten():
    class Zeroing(Callback):
        state_access = {"model": Write}

        def on_fit_end(self, learner):
            learner.model.weight.data.zero_()

    for name in ("A", "Z"):
        zeroing, weights = Zeroing(), Weights()
        zeroing.name = name
        learner = toy_learner(EarlyStopping(Never(), restore_best=True), zeroing, weights)
        learner.fit(2, (learner.data.training, validation(1.0, 2.0)))
        assert learner.model.weight.item() == weights.seen[0] != 0


def test_several_models_are_restored_together():
    class Both(AbstractTrainingPhase):
        data_name = "training"

        def step(self, learner, batch):
            with run_step(learner, self) as (_, state), torch.no_grad():
                state.loss = torch.tensor(batch)
                for model in learner.model.values():
                    model.weight.fill_(batch)

    models = {"first": nn.Linear(1, 1), "second": nn.Linear(1, 1)}
    stopping = EarlyStopping(Never(), restore_best=True)
    learner = Learner(models, nn.functional.l1_loss, callbacks=[stopping], use_default_callbacks=False)
    learner.fit(3, (Numbers(3.0, 1.0, 2.0),), phases=[Both()])
    assert [model.weight.item() for model in models.values()] == [1.0, 1.0]


# Checkpoints.

TRAIN = [[4.0, 2.0], [3.0, 2.0], [2.0, 1.5], [1.5, 1.25], [1.25, 1.0]]
TEST = [3.0, 2.0, 2.5, 3.0, 9.0]


RESUMABLE = {Patience(3): 5, PQ(0.3, 2): 4, GL(40): 4, Patience(9) + NumberLimit(4): 4}


def scripted(rounds=0):
    """Data of training and of validation, without the epochs that were done in the rounds before."""
    return Script(*TRAIN[(rounds + 1) // 2 :]), validation(*TEST[rounds // 2 :])


def outcome(learner, result):
    states = [callback.state_dict() for callback in learner.callbacks if isinstance(callback, EarlyStopping)]
    plain = torch.utils._pytree.tree_map_only(torch.Tensor, torch.Tensor.tolist, states)
    progress = learner.progress
    return progress.epochs, progress.steps, str(result.cancelled), learner.model.weight.item(), plain


@pytest.fixture
def resumed_everywhere(saved_everywhere):
    """Resumes a fit of five epochs wherever it could be interrupted; returns the outcome, which is always the same."""

    def check(make, data, **options):
        whole = make()
        expected = outcome(whole, whole.fit(5, data(), **options))
        for saved in saved_everywhere(make(), lambda learner: learner.fit(5, data(), **options)):
            resumed = make()
            saved.resume(resumed)
            result = resumed.fit(5, data(saved.rounds), **options)
            assert (saved.phase, saved.batches, *outcome(resumed, result)) == (saved.phase, saved.batches, *expected)
        return expected

    return check


@pytest.mark.parametrize(("criterion", "epochs"), RESUMABLE.items(), ids=str)
def test_resumed_anywhere_it_stops_where_the_whole_run_does(resumed_everywhere, criterion, epochs):
    result = resumed_everywhere(lambda: toy_learner(EarlyStopping(criterion)), scripted)
    assert result[:2] == (epochs, 2 * epochs)


def test_resumed_anywhere_with_keep_state_the_state_of_earlier_fits_is_kept(resumed_everywhere):
    def make():
        learner = toy_learner(EarlyStopping(NumberLimit(4), keep_state=True))
        learner.fit(2, (Script([5.0], [5.0]), validation(5.0, 5.0)))
        return learner

    epochs, *_ = resumed_everywhere(make, scripted)
    assert epochs == 2 + 2


def test_resumed_anywhere_without_validation_training_still_stands_in(resumed_everywhere):
    epochs, *_ = resumed_everywhere(
        lambda: toy_learner(EarlyStopping(Threshold(1.45))), lambda rounds=0: (Script(*TRAIN[rounds:]),)
    )
    assert epochs == 4


def test_resumed_anywhere_the_clock_goes_on_from_the_time_used_up(resumed_everywhere):
    def make():
        clock = Clock(next(starts))
        passing = CustomCallback(lambda _: clock.go_on(10), StepEnd, TrainingPhase)
        return toy_learner(EarlyStopping(TimeLimit(timedelta(seconds=45), clock=clock)), passing)

    starts = itertools.count(0.0, 1000.0)
    epochs, *_ = resumed_everywhere(make, scripted)
    assert epochs == 3


def test_resumed_anywhere_the_best_weights_are_restored(resumed_everywhere):
    def make():
        return toy_learner(EarlyStopping(Never(), restore_best=True), nbatches=2)

    training = make().data.training
    weights = Weights()
    whole = make()
    whole.add_callback(weights)
    whole.fit(5, (training, validation(*TEST)))
    *_, weight, _ = resumed_everywhere(make, lambda rounds=0: (training, validation(*TEST[rounds // 2 :])))
    assert weight == weights.seen[1] != weights.seen[4]


def test_only_the_fit_that_is_resumed_goes_on(saved_everywhere):
    def make():
        return toy_learner(EarlyStopping(NumberLimit(3)))

    saved = saved_everywhere(make(), lambda learner: learner.fit(5))
    learner = make()
    saved[-1].resume(learner)
    assert [learner.fit(5).epochs for _ in range(2)] == [0, 3]


@pytest.mark.parametrize(("keep_state", "epochs"), [(False, 3), (True, 1)])
def test_a_state_that_is_loaded_before_the_fit_is_forgotten_unless_keep_state(keep_state, epochs):
    first, second = (EarlyStopping(NumberLimit(3), keep_state=keep_state) for _ in range(2))
    toy_learner(first).fit(2)
    second.load_state_dict(first.state_dict())
    assert toy_learner(second).fit(5).epochs == epochs


# What it refuses.


def test_it_needs_a_criterion():
    with pytest.raises(
        ArgumentTypeError,
        match=r"needs a criterion, or a number of epochs.\nFix: .*\n    EarlyStopping\(patience=3\)$",
    ):
        EarlyStopping()
    with pytest.raises(ArgumentTypeError, match="A stopping criterion must be an instance of Criterion, got 'soon'"):
        EarlyStopping("soon")
    with pytest.raises(ArgumentTypeError, match=r"Patience\(n\) must be a whole number of at least 1, got True"):
        EarlyStopping(True)
    with pytest.raises(ArgumentValueError, match=r"Patience\(n\) must be a whole number of at least 1, got 0"):
        EarlyStopping(0)


def test_mode_is_min_or_max():
    with pytest.raises(
        ArgumentValueError, match=r"EarlyStopping\(mode\) has an invalid value: 'up'.\nFix: pass 'min' or 'max'"
    ):
        EarlyStopping(3, mode="up")


def test_an_epoch_whose_steps_were_all_cancelled_counts_for_nothing():
    def cancel(learner):
        raise CancelStepException

    learner = toy_learner(EarlyStopping(NumberLimit(1)), CustomCallback(cancel, LossBegin, ValidationPhase))
    assert learner.fit(2).cancelled is None
