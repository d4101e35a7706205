"""Saves that are asked for, those where a fit is cancelled, and those of epochs inside of epochs."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import torch
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CustomCallback,
    EpochBegin,
    EpochEnd,
    FitBegin,
    LossBegin,
    Phase,
    StepBegin,
    StepEnd,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    run_epoch,
    step,
    toy_learner,
)
from treadle.authoring import batches
from treadle_checkpoint import Checkpointer, checkpoints, latest, resume


def epochs_and_steps(folder):
    return [(one.epoch, one.steps) for one in checkpoints(folder)]


class At(Callback):
    """Does something once: in an event of a phase, in a step of training of this number."""

    def __init__(self, event, n, act, phase=TrainingPhase):
        self.n, self.act, self.done = n, act, False
        handler = CustomCallback(self.look, event, phase) if event is not FitBegin else CustomCallback(self.look, event)
        for name in vars(handler):
            if name.startswith("on_"):
                setattr(self, name, vars(handler)[name])

    def look(self, learner):
        if not self.done and learner.progress.steps >= self.n:
            self.done = True
            self.act()


def cancel():
    raise CancelFittingException("Enough.")


# Where a fit is cancelled.


@pytest.mark.parametrize("event", [StepBegin, LossBegin, StepEnd])
def test_a_fit_that_is_cancelled_in_a_step_is_saved_there_once_and_goes_on_when_it_is_resumed(tmp_path, event):
    learner = toy_learner(At(event, 5, cancel), Checkpointer(tmp_path))
    assert learner.fit(2).cancelled.args == ("Enough.",)
    steps = learner.progress.steps
    assert epochs_and_steps(tmp_path) == [(1, steps)]
    again = toy_learner(Checkpointer(tmp_path))
    resume(again, tmp_path)
    assert again.model.weight.equal(learner.model.weight)
    again.fit(2)
    assert again.progress.epochs == 2
    assert again.progress.steps == (32 if event is StepEnd else 31)  # a step that was cut off is not done again


def test_it_is_not_saved_there_if_that_is_not_wanted(tmp_path):
    toy_learner(At(StepEnd, 20, cancel), Checkpointer(tmp_path, save_when_cancelled=False)).fit(5)
    assert epochs_and_steps(tmp_path) == [(1, 16)]


def test_where_a_save_was_due_as_well_there_is_one(tmp_path):
    toy_learner(At(StepEnd, 20, cancel), Checkpointer(tmp_path, every_steps=10)).fit(5)
    assert epochs_and_steps(tmp_path) == [(1, 10), (2, 20)]


@pytest.mark.parametrize(("phase", "steps"), [(TrainingPhase, 0), (ValidationPhase, 16)])
def test_a_fit_that_is_cancelled_where_an_epoch_begins_goes_on_with_that_epoch(tmp_path, phase, steps):
    counted = Count()
    toy_learner(At(EpochBegin, 0, cancel, phase), Checkpointer(tmp_path, every_epochs=5), counted).fit(2)
    assert epochs_and_steps(tmp_path) == [(1, steps)]
    again = toy_learner(Checkpointer(tmp_path), Count())
    resume(again, tmp_path)
    assert again.fit(2).epochs == 2 - (steps == 16)
    assert again.progress.epoch == 2
    assert again.callbacks[1].epochs == 4


class Count(Callback):
    def __init__(self):
        self.epochs = 0

    def on_epoch_begin(self):
        self.epochs += 1

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state):
        self.epochs = state["epochs"]


@pytest.mark.parametrize(("phase", "every"), [(TrainingPhase, 1), (ValidationPhase, 1), (TrainingPhase, 5)])
def test_a_fit_that_is_cancelled_at_the_end_of_an_epoch_is_saved_behind_it(tmp_path, phase, every):
    learner = toy_learner(At(EpochEnd, 16, cancel, phase), Checkpointer(tmp_path, every_epochs=every))
    learner.fit(3)
    assert epochs_and_steps(tmp_path) == [(1, 16)]
    again = toy_learner(Checkpointer(tmp_path), seen := Phases())
    resume(again, tmp_path)
    again.fit(2)
    after = [TrainingPhase, ValidationPhase]
    assert seen.phases == (after if phase is ValidationPhase else [ValidationPhase, *after])


class Phases(Callback):
    """Notes which epochs there are."""

    def __init__(self):
        self.phases = []

    def on_epoch_begin(self, phase):
        self.phases.append(type(phase))


class ByItself(AbstractTrainingPhase):
    """Goes over its data by itself."""

    data_name = "training"

    def epoch(self, learner: Any, data: Any) -> None:
        with run_epoch(learner, self):
            for batch in data:
                step(learner, self, batch)

    def step(self, learner: Any, batch: Any) -> None:
        TrainingPhase.step(self, learner, batch)  # type: ignore[arg-type]


def test_a_phase_that_goes_over_its_data_by_itself_is_not_saved_where_it_is_cancelled_and_that_is_reported(
    tmp_path, loguru_warnings
):
    toy_learner(At(StepEnd, 5, cancel, ByItself), Checkpointer(tmp_path)).fit(1, phases=[ByItself()])
    assert checkpoints(tmp_path) == []
    assert loguru_warnings == [
        "No checkpoint was saved where the fit was cancelled: ByItself.epoch goes over its data by itself.\n"
        "Fix: let it go over its data with treadle.authoring.batches."
    ]


def test_a_fit_that_ends_by_an_error_is_not_saved_there(tmp_path):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        toy_learner(At(StepEnd, 5, fail), Checkpointer(tmp_path)).fit(1)
    assert checkpoints(tmp_path) == []


# On request.


@pytest.mark.parametrize(
    ("event", "n", "phase", "saved"),
    [
        (FitBegin, 0, Phase, [(1, 1), (1, 16)]),
        (EpochBegin, 0, TrainingPhase, [(1, 16)]),
        (EpochBegin, 16, ValidationPhase, [(1, 16), (1, 16)]),
        (StepBegin, 5, TrainingPhase, [(1, 6), (1, 16)]),
        (StepEnd, 5, TrainingPhase, [(1, 5), (1, 16)]),
        (StepEnd, 16, TrainingPhase, [(1, 16), (1, 16)]),
        (StepEnd, 16, ValidationPhase, [(1, 16), (1, 16)]),
        (EpochEnd, 16, TrainingPhase, [(1, 16)]),
    ],
)
def test_a_save_is_made_when_the_step_has_ended_or_the_epoch_that_begins_or_ends(tmp_path, event, n, phase, saved):
    saving = Checkpointer(tmp_path)
    toy_learner(At(event, n, saving.request_save, phase), saving).fit(1)
    assert epochs_and_steps(tmp_path) == saved


class ValidateInside(Callback):
    state_access = {"loop": Write}

    def __init__(self, n):
        self.n, self.validated = n, []

    def on_step_end(self, learner, phase: TrainingPhase):
        if learner.progress.step % self.n == 0:
            self.validated.append(learner.progress.steps)
            learner.loop.epoch(ValidationPhase())

    def state_dict(self):
        return {"validated": self.validated}

    def load_state_dict(self, state):
        self.validated = state["validated"]


@pytest.mark.parametrize("event", [EpochBegin, StepBegin, StepEnd, EpochEnd])
def test_asked_for_in_an_epoch_inside_of_a_step_it_is_made_when_that_step_has_ended(tmp_path, event):
    saving = Checkpointer(tmp_path)
    toy_learner(At(event, 4, saving.request_save, ValidationPhase), saving, ValidateInside(4)).fit(1)
    assert epochs_and_steps(tmp_path) == [(1, 4), (1, 16)]


def test_a_phase_that_goes_over_its_data_by_itself_is_saved_when_its_epoch_has_ended(tmp_path):
    saving = Checkpointer(tmp_path, every_epochs=2)
    toy_learner(At(StepEnd, 5, saving.request_save, ByItself), saving).fit(1, phases=[ByItself()])
    assert epochs_and_steps(tmp_path) == [(1, 16)]


@pytest.mark.parametrize("error", [CancelStepException, CancelEpochException])
def test_a_save_is_made_also_if_the_step_or_the_epoch_is_cancelled(tmp_path, error):
    saving = Checkpointer(tmp_path, every_epochs=2)

    def both():
        saving.request_save()
        raise error("Enough.")

    toy_learner(At(StepBegin, 5, both), saving).fit(1)
    assert epochs_and_steps(tmp_path) == [(1, 5)]


def test_a_signal_handler_may_ask_for_it_and_the_run_goes_on_from_there(tmp_path):
    saving = Checkpointer(tmp_path, save_on_signal=())
    before = signal.signal(signal.SIGTERM, lambda *_: saving.request_save())
    try:
        whole = toy_learner(At(LossBegin, 20, lambda: os.kill(os.getpid(), signal.SIGTERM)), saving)
        whole.fit(2)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert epochs_and_steps(tmp_path) == [(1, 16), (2, 21), (2, 32)]
    again = toy_learner()
    resume(again, checkpoints(tmp_path)[1])
    again.fit(2)
    assert again.model.weight.equal(whole.model.weight)


def test_asked_for_before_a_fit_it_is_made_after_the_first_step(tmp_path):
    saving = Checkpointer(tmp_path)
    saving.request_save()
    toy_learner(saving).fit(1)
    assert epochs_and_steps(tmp_path) == [(1, 1), (1, 16)]


# Epochs inside of epochs.


class InTheMiddle(TrainingPhase):
    """Validates between two of its steps."""

    def epoch(self, learner: Any, data: Any) -> None:
        with run_epoch(learner, self):
            for batch in batches(learner, self, data):
                step(learner, self, batch)
                if learner.progress.step % 6 == 0:
                    epoch(learner, ValidationPhase())


class Behind(TrainingPhase):
    def epoch(self, learner: Any, data: Any) -> None:
        super().epoch(learner, data)
        epoch(learner, ValidationPhase())


class Before(TrainingPhase):
    def epoch(self, learner: Any, data: Any) -> None:
        epoch(learner, ValidationPhase())
        super().epoch(learner, data)


class Within(AbstractTrainingPhase):
    """Consists of epochs."""

    data_name = "training"

    def epoch(self, learner: Any, data: Any) -> None:
        with run_epoch(learner, self):
            epoch(learner, TrainingPhase())
            epoch(learner, ValidationPhase())

    def step(self, learner: Any, batch: Any) -> None: ...


@pytest.mark.parametrize("phase", [InTheMiddle, Behind, Before, Within])
@pytest.mark.parametrize("after", [None, ValidationPhase, Phase])
def test_a_phase_that_validates_inside_of_its_own_epoch_is_saved_and_can_be_resumed(tmp_path, phase, after):
    whole = toy_learner(Checkpointer(tmp_path, phase=after))
    whole.fit(2, phases=[phase()])
    steps = [one.steps for one in checkpoints(tmp_path)]
    expected = {None: [16, 32], ValidationPhase: [16, 32], Phase: [16, 32]}[after]
    if after is not None:
        expected = {InTheMiddle: [6, 12, 22, 28], Before: [1, 17]}.get(phase, expected)
        if after is Phase and phase in (InTheMiddle, Before):
            expected = sorted([*expected, 16, 32])
    assert steps == expected
    for one in checkpoints(tmp_path):
        again = toy_learner()
        resume(again, one)
        again.fit(2, phases=[phase()])
        assert again.model.weight.equal(whole.model.weight)


@pytest.mark.parametrize("validating", [InTheMiddle, None])
def test_a_validation_due_right_after_a_checkpoint_is_not_lost(tmp_path, validating):
    phase = TrainingPhase() if validating is None else InTheMiddle()
    inner = [ValidateInside(6)] if validating is None else []
    whole = toy_learner(Checkpointer(tmp_path, every_steps=1), counted := Count(), *inner)
    whole.fit(1, phases=[phase])
    for one in checkpoints(tmp_path):
        again = toy_learner(after := Count(), *([ValidateInside(6)] if inner else []))
        resume(again, one)
        again.fit(1, phases=[phase])
        assert (one.steps, after.epochs) == (one.steps, counted.epochs)
        assert again.model.weight.equal(whole.model.weight)


def test_a_wrapper_that_changes_the_weights_between_two_batches_is_saved(tmp_path):
    class Halving(TrainingPhase):
        def epoch(self, learner, data):
            with run_epoch(learner, self):
                for batch in batches(learner, self, data):
                    step(learner, self, batch)
                    with torch.no_grad():
                        learner.model.weight.mul_(0.5)

    whole = toy_learner(Checkpointer(tmp_path, every_steps=5))
    whole.fit(1, phases=[Halving()])
    for one in checkpoints(tmp_path):
        again = toy_learner()
        resume(again, one)
        again.fit(1, phases=[Halving()])
        assert again.model.weight.equal(whole.model.weight)
    assert latest(tmp_path).steps == 15
