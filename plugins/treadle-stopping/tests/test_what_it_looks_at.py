"""Which epochs `EarlyStopping` looks at: those of one of the fit's phases, and no others."""

import math

import pytest
import torch
from loguru import logger
from treadle import (
    AbstractValidationPhase,
    ArgumentTypeError,
    ArgumentValueError,
    CancelEpochException,
    CustomCallback,
    EpochBegin,
    EpochEnd,
    FitBegin,
    FitEnd,
    LossError,
    Phase,
    StepBegin,
    StepEnd,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    run_epoch,
    run_step,
    step,
    toy_learner,
)
from treadle.authoring import batches
from treadle_stopping import PQ, EarlyStopping, InvalidValue, NumberLimit, Patience, Threshold, TimeLimit


def losses(*epochs):
    """Batches whose losses are these; one epoch each, over and over again."""
    return Losses(epochs)


class Losses:
    def __init__(self, epochs):
        self.epochs, self.next = epochs, 0

    def __iter__(self):
        loss = self.epochs[self.next % len(self.epochs)]
        self.next += 1
        values = loss if isinstance(loss, list) else [loss]
        return iter([(torch.zeros(1, 1), torch.full((1, 1), value)) for value in values])


class Frozen(TrainingPhase):
    """Training that changes nothing, so that the losses stay those of the data."""

    def step(self, learner, batch):
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (_, state):
            state.loss = batch[1].mean()


class Validating(Frozen):
    """Validates after the steps of some of its epochs."""

    def epoch(self, learner, data):
        with run_epoch(learner, self):
            for batch in batches(learner, self, data):
                step(learner, self, batch)
            if learner.progress.epoch in self.when:
                epoch(learner, ValidationPhase())


def validating(*when):
    phase = Validating()
    phase.when = when
    return phase


class Holdout(AbstractValidationPhase):
    data_name = "holdout"
    step = ValidationPhase.step


class Sampling(Phase):
    data_name = "training"

    def step(self, learner, batch):
        with run_step(learner, self):
            pass


def fitted(stopping, n, data, **options):
    learner = toy_learner(stopping, nbatches=2)
    return learner.fit(n, data, **options)


def warnings(run):
    messages = []
    sink = logger.add(lambda message: messages.append(message.record["message"]), level="WARNING")
    try:
        run()
    finally:
        logger.remove(sink)
    return messages


# The fit's own phases.


def test_a_fit_without_a_test_phase_looks_at_training_although_the_learner_has_validation_data():
    data = (losses(1.0, 2.0, 3.0, 4.0), losses(9.0, 8.0, 7.0, 6.0))
    assert fitted(EarlyStopping(2), 9, data, phases=[Frozen()]).epochs == 3


def test_a_fit_with_a_test_phase_looks_at_it_whatever_its_data_are_called():
    data = {"training": losses(1.0), "holdout": losses(3.0, 2.0, 2.5, 3.0)}
    assert fitted(EarlyStopping(2), 9, data, phases=[Frozen(), Holdout()]).epochs == 4


def test_a_fit_of_validation_alone_can_be_stopped():
    stopping = EarlyStopping(NumberLimit(3))
    result = fitted(stopping, 9, (losses(1.0), losses(1.0)), phases=[ValidationPhase()])
    assert (result.epochs, result.cancelled.criterion) == (0, NumberLimit(3))


def test_the_kinds_of_phases_can_be_swapped_to_look_at_training():
    data = (losses(1.0, 2.0, 3.0), losses(1.0))
    stopping = EarlyStopping(2, train_phase=ValidationPhase, test_phase=TrainingPhase)
    assert fitted(stopping, 9, data, phases=[Frozen(), ValidationPhase()]).epochs == 3


def test_several_test_phases_are_refused_before_the_first_step_unless_one_is_chosen():
    data = {"training": losses(1.0), "validation": losses(1.0), "holdout": losses(1.0, 2.0, 3.0)}
    phases = [Frozen(), ValidationPhase(), Holdout()]
    steps = []
    learner = toy_learner(EarlyStopping(2), CustomCallback(steps.append, StepBegin))
    message = r"compare values of ValidationPhase\(\) and Holdout\(\) with each other\.\nFix: .*\n    .*test_phase=Vali"
    with pytest.raises(ArgumentValueError, match=message):
        learner.fit(9, data, phases=phases)
    assert steps == []
    assert fitted(EarlyStopping(2, test_phase=Holdout), 9, data, phases=phases).epochs == 3


def test_several_training_phases_that_would_stand_in_are_refused_before_the_first_step():
    class Other(Frozen):
        pass

    data = (losses(1.0), losses(1.0))
    with pytest.raises(ArgumentValueError, match=r"values of Frozen\(\) and Other\(\) with each other"):
        fitted(EarlyStopping(2), 9, data, phases=[Frozen(), Other()])
    phases = [Frozen(), Other(), ValidationPhase()]
    with pytest.raises(ArgumentValueError, match=r"training losses of Frozen\(\) and Other\(\).*\n.*\n.*train_phase=F"):
        fitted(EarlyStopping(PQ()), 9, data, phases=phases)
    assert fitted(EarlyStopping(InvalidValue()), 2, data, phases=phases).cancelled is None


def test_a_fit_that_has_nothing_to_look_at_is_refused_before_the_first_step():
    with pytest.raises(
        ArgumentValueError,
        match=r"AbstractValidationPhase or else AbstractTrainingPhase, and this fit has only Sampling\(\)\.\nFix: name",
    ):
        fitted(EarlyStopping(2), 9, (losses(1.0),), phases=[Sampling()])


def test_a_fit_in_which_no_value_came_says_so():
    class Round(Phase):
        data_name = "training"

        def epoch(self, learner, data):
            with run_epoch(learner, TrainingPhase()):
                pass

    messages = warnings(lambda: fitted(EarlyStopping(2), 2, (losses(1.0),), phases=[Round()]))
    assert messages == [
        "EarlyStopping saw no value in this fit: no step ended in a AbstractValidationPhase, or in a "
        "AbstractTrainingPhase in place of it."
    ]


def test_steps_without_a_loss_are_reported():
    class Lossless(ValidationPhase):
        def step(self, learner, batch):
            with run_step(learner, self):
                pass

    with pytest.raises(
        LossError, match=r"no `step.loss` in Lossless\(\)\.\nFix: choose other phases.*epoch metric:\n    Ea"
    ):
        fitted(EarlyStopping(3), 1, (losses(1.0), losses(1.0)), phases=[Frozen(), Lossless()])


# Outside of a fit.


def test_an_epoch_outside_of_a_fit_is_not_looked_at():
    stopping = EarlyStopping(NumberLimit(2), InvalidValue(), keep_state=True)
    learner = toy_learner(stopping, nbatches=2)
    learner.fit(1)
    for _ in range(3):
        epoch(learner, ValidationPhase(), list(losses(math.nan)))
        epoch(learner, TrainingPhase())
    with run_epoch(learner, ValidationPhase()):
        step(learner, ValidationPhase(), learner.data.validation[0])
    assert learner.fit(5).epochs == 1


# Validation inside of a training epoch.


def test_validation_inside_of_each_training_epoch_is_what_it_looks_at():
    data = (losses(1.0), losses(3.0, 2.0, 2.5, 3.0, 1.0))
    result = fitted(EarlyStopping(2), 9, data, phases=[validating(1, 2, 3, 4, 5)])
    assert (result.epochs, str(result.cancelled)) == (
        3,
        "Stopped early by Patience(n=2): the loss has risen 2 times in a row, to 3.",
    )


def test_validation_that_begins_later_is_not_compared_with_training():
    data = (losses(1.0, 2.0), losses(9.0, 8.0, 8.5, 9.0))
    stopping = EarlyStopping(3, Threshold(1.5), restore_best=True)
    result = fitted(stopping, 5, data, phases=[validating(3, 4, 5)])
    assert result.cancelled.criterion == Threshold(1.5)
    assert result.epochs == 1
    stopping = EarlyStopping(2, restore_best=True)
    result = fitted(stopping, 6, (losses(1.0, 2.0), losses(9.0, 8.0, 8.5, 9.0)), phases=[validating(3, 4, 5, 6)])
    assert (result.epochs, stopping.best) == (5, 8.0)


def test_a_clock_runs_on_when_validation_begins_later():
    now = [0.0]
    limit = TimeLimit(1.0, clock=lambda: now[0])
    learner = toy_learner(EarlyStopping(limit), CustomCallback(lambda _: now.append(now.pop() + 1000), EpochBegin))
    result = learner.fit(9, (losses(1.0), losses(1.0)), phases=[validating(2)])
    assert (result.epochs, now) == (3, [4000.0])


def test_validation_of_another_phase_inside_is_not_looked_at():
    class WithHoldout(Frozen):
        def step(self, learner, batch):
            super().step(learner, batch)
            epoch(learner, Holdout(), list(losses(math.nan)))

    data = (losses(1.0), losses(3.0, 2.0, 2.5, 3.0))
    stopping = EarlyStopping(2, InvalidValue())
    assert fitted(stopping, 9, data, phases=[WithHoldout(), ValidationPhase()]).epochs == 4


def test_validation_inside_sees_the_training_losses_so_far():
    result = fitted(EarlyStopping(PQ(alpha=10, k=2)), 9, (losses([2.0, 2.0]), losses(1.0)), phases=[validating(1)])
    assert (result.epochs, result.steps) == (0, 2)
    assert "the last 2 training losses make no progress" in str(result.cancelled)


def test_an_epoch_of_an_equal_phase_inside_of_another_leaves_its_mean_alone():
    class Twice(ValidationPhase):
        def step(self, learner, batch):
            super().step(learner, batch)
            if learner.progress.step == 1 and batch[1].item() == 1.0:
                epoch(learner, Twice(), list(losses([5.0, 5.0])))

    values = []
    note = CustomCallback(lambda _: values.append(stopping.stopper.state_dict()["state"][-1]["loss"]), EpochEnd, Twice)
    note.run_after = ("early_stopping",)
    stopping = EarlyStopping(NumberLimit(9), Patience(9))
    toy_learner(stopping, note).fit(1, (losses(1.0), losses([1.0, 3.0])), phases=[Frozen(), Twice()])
    assert values == [5.0, 2.0]


def test_a_cancelled_epoch_counts_with_the_steps_it_had():
    def cancel(learner):
        if learner.step.loss == 2.0:
            raise CancelEpochException

    stopping = EarlyStopping(Threshold(1.75))
    learner = toy_learner(stopping, CustomCallback(cancel, StepEnd, ValidationPhase, {"step.loss": Write}))
    assert learner.fit(3, (losses(1.0), losses([1.0, 2.0, 9.0]))).epochs == 1


# A fit inside of a fit.


@pytest.mark.parametrize("event", [FitBegin, EpochBegin, StepEnd, EpochEnd, FitEnd])
def test_a_fit_inside_of_a_fit_leaves_what_was_seen_in_the_outer_one(event):
    inner = []

    def fit_inside(_):
        if not inner:
            inner.append(None)
            inner[0] = learner.fit(9, (losses(1.0), losses(1.0, 2.0, 3.0)))

    phase = (TrainingPhase,) if event.phased else ()
    stopping = EarlyStopping(2, NumberLimit(4))
    learner = toy_learner(stopping, CustomCallback(fit_inside, event, *phase), nbatches=2)
    outer = learner.fit(9, (losses(1.0), losses(5.0, 4.0, 4.5, 4.0)))
    assert (inner[0].epochs, inner[0].cancelled.criterion) == (3, Patience(2))
    assert outer.cancelled.criterion == NumberLimit(4)
    assert len(stopping._fits) == 1


# What is refused.


@pytest.mark.parametrize(
    ("train_phase", "test_phase"),
    [(TrainingPhase, TrainingPhase), (Phase, ValidationPhase), (TrainingPhase, Phase), (Frozen, TrainingPhase)],
)
def test_kinds_of_phases_that_overlap_are_refused(train_phase, test_phase):
    with pytest.raises(ArgumentValueError, match=r"overlap: the losses of a \w+ would be .*\nFix: pass two types"):
        EarlyStopping(2, train_phase=train_phase, test_phase=test_phase)


def test_it_needs_types_of_phases():
    with pytest.raises(
        ArgumentTypeError,
        match=r"^EarlyStopping\(test_phase\) must be Phase or a subclass of it, got ValidationPhase\(\)",
    ):
        EarlyStopping(3, test_phase=ValidationPhase())
