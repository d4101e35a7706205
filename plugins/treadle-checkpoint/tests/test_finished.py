"""A run that is over is resumed as one that is over."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from treadle import (
    Callback,
    CancelFittingException,
    EpochBegin,
    EpochEnd,
    FitBegin,
    FitEnd,
    FitResult,
    Phase,
    StepBegin,
    TrainingPhase,
    ValidationPhase,
    toy_learner,
)
from treadle_checkpoint import Checkpointer, checkpoints, latest, resume


class Events(Callback):
    """Notes what is dispatched."""

    optional_state = True

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_fit_begin(self) -> None:
        self.seen.append(FitBegin)

    def on_epoch_begin(self) -> None:
        self.seen.append(EpochBegin)

    def on_step_begin(self) -> None:
        self.seen.append(StepBegin)

    def on_epoch_end(self) -> None:
        self.seen.append(EpochEnd)

    def on_fit_end(self) -> None:
        self.seen.append(FitEnd)


class Losses(Callback):
    """Keeps the number of epochs that it has seen end."""

    def __init__(self) -> None:
        self.epochs = 0

    def on_epoch_end(self) -> None:
        self.epochs += 1

    def state_dict(self) -> dict[str, int]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epochs = state["epochs"]


@pytest.mark.parametrize("options", [{}, {"phase": ValidationPhase}, {"phase": Phase}, {"every_steps": 16}])
@pytest.mark.parametrize("phases", [None, [TrainingPhase()], [TrainingPhase(), ValidationPhase(), ValidationPhase()]])
def test_a_finished_run_that_is_started_again_does_nothing_and_is_as_it_was(tmp_path, options, phases):
    if phases == [TrainingPhase()] and options.get("phase") is ValidationPhase:
        return
    whole = toy_learner(Checkpointer(tmp_path, **options), counted := Losses())
    whole.fit(2, phases=phases)
    entries = checkpoints(tmp_path)
    again = toy_learner(Checkpointer(tmp_path, **options), after := Losses(), events := Events())
    resume(again, tmp_path)
    assert again.fit(2, phases=phases) == FitResult(epochs=0, steps=0)
    assert events.seen == [FitBegin, FitEnd]
    assert after.epochs == counted.epochs
    assert checkpoints(tmp_path) == entries


def test_a_longer_fit_goes_on_as_if_it_had_been_one(tmp_path):
    whole = toy_learner(counted := Losses())
    whole.fit(3)
    toy_learner(Checkpointer(tmp_path), Losses()).fit(2)
    again = toy_learner(Checkpointer(tmp_path), after := Losses())
    resume(again, tmp_path)
    assert again.fit(3) == FitResult(epochs=1, steps=16)
    assert again.model.weight.equal(whole.model.weight)
    assert after.epochs == counted.epochs == 6
    assert [one.steps for one in checkpoints(tmp_path)] == [16, 32, 48]


class Done(CancelFittingException):
    final = True


class Stop(Callback):
    """Ends the fit after an epoch of a phase, for good or not."""

    def __init__(self, error: type[CancelFittingException], phase: type[Phase]) -> None:
        self.error, self.phase = error, phase

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        if learner.progress.epochs == 2 and isinstance(phase, self.phase):
            raise self.error("Good enough.")


class Unused(Phase): ...


@pytest.mark.parametrize("phase", [TrainingPhase, ValidationPhase])
@pytest.mark.parametrize("every", [1, 5])
def test_a_fit_that_was_ended_for_good_is_over_when_it_is_resumed(tmp_path, phase, every):
    learner = toy_learner(Stop(Done, phase), Checkpointer(tmp_path, every_epochs=every))
    learner.fit(9)
    assert latest(tmp_path).steps == 32
    again = toy_learner(stop := Stop(Done, phase), Checkpointer(tmp_path, every_epochs=every), events := Events())
    resume(again, tmp_path)
    result = again.fit(9)
    assert (result.epochs, result.steps, str(result.cancelled)) == (0, 0, "Good enough.")
    assert result.cancelled.callback is stop
    assert events.seen == [FitBegin, FitEnd]
    assert again.model.weight.equal(learner.model.weight)


class Draws(Callback):
    """Draws a random number in each step, and ends the fit for good in one of a phase."""

    def __init__(self, phase: type[Phase]) -> None:
        self.phase = phase

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        torch.rand(1)
        if learner.progress.epoch == 2 and learner.progress.step == 2 and isinstance(phase, self.phase):
            raise Done("Good enough.")


@pytest.mark.parametrize("phase", [TrainingPhase, ValidationPhase])
def test_ended_for_good_inside_of_an_epoch_it_leaves_the_random_numbers_that_it_left_then(tmp_path, phase):
    learner = toy_learner(Draws(phase), Checkpointer(tmp_path), nbatches=4)
    learner.fit(9)
    after = torch.get_rng_state()
    again = toy_learner(Draws(phase), Checkpointer(tmp_path), nbatches=4)
    resume(again, tmp_path)
    assert again.fit(9).steps == 0
    assert torch.equal(torch.get_rng_state(), after)


def test_without_the_callback_that_ended_it_or_its_state_it_goes_on(tmp_path):
    toy_learner(Stop(Done, TrainingPhase), Checkpointer(tmp_path)).fit(9)
    for callbacks, without in (([], ()), ([Stop(Done, Unused)], ("Stop",))):
        again = toy_learner(*callbacks)
        resume(again, latest(tmp_path).path, without=without)
        assert again.fit(3).epochs == 1


def test_a_fit_that_was_cancelled_otherwise_goes_on(tmp_path):
    toy_learner(Stop(CancelFittingException, ValidationPhase), Checkpointer(tmp_path)).fit(3)
    again = toy_learner(Checkpointer(tmp_path))
    resume(again, tmp_path)
    assert again.fit(3) == FitResult(epochs=1, steps=16)


def test_after_the_fit_that_was_resumed_at_its_end_the_next_one_begins(tmp_path):
    toy_learner(Stop(Done, TrainingPhase), Checkpointer(tmp_path)).fit(9)
    again = toy_learner(Stop(Done, TrainingPhase), Checkpointer(tmp_path))
    resume(again, tmp_path)
    assert again.fit(9).steps == 0
    assert again.fit(1).steps == 16


def test_another_fit_of_validation_alone_leaves_the_checkpoint_of_the_training(tmp_path):
    learner = toy_learner(Checkpointer(tmp_path))
    learner.fit(2)
    before = latest(tmp_path).path.joinpath("manifest.json").read_bytes()
    learner.fit(1, phases=[ValidationPhase()])
    assert latest(tmp_path).path.joinpath("manifest.json").read_bytes() == before
