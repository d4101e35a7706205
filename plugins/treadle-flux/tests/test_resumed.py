"""A run over data in memory is resumed: at each batch, after a pass that was left, and where the fit had ended."""

from pathlib import Path
from typing import ClassVar

import pytest
import torch
from treadle import (
    Callback,
    CancelEpochException,
    CancelFittingException,
    Learner,
    TrainingPhase,
    run_epoch,
    step,
    toy_learner,
)
from treadle.authoring import batches
from treadle_checkpoint import Checkpointer, checkpoints, resume
from treadle_flux import DataLoader


class LeaveSecondEpoch(Callback):
    def on_step_end(self, learner, phase: TrainingPhase) -> None:
        if (learner.progress.epoch, learner.progress.step) == (2, 2):
            raise CancelEpochException


class Enough(CancelFittingException):
    final = True


class StopInSecondEpoch(Callback):
    def on_step_end(self, learner, phase: TrainingPhase) -> None:
        if (learner.progress.epoch, learner.progress.step) == (2, 2):
            raise Enough


class StopBetweenSteps(TrainingPhase):
    """Ends the fit after its seventh step, outside of a step."""

    at: ClassVar = 7

    def epoch(self, learner, data) -> None:
        with run_epoch(learner, self):
            for batch in batches(learner, self, data):
                step(learner, self, batch)
                if learner.progress.steps == self.at:
                    raise CancelFittingException


def make(*callbacks: Callback) -> Learner:
    xs = torch.linspace(1, 2, 20).reshape(-1, 1)
    return toy_learner(*callbacks, data=(DataLoader((xs, 3 * xs), 4, shuffle=True),))


def weights_and_orders(learner: Learner) -> list[list[float]]:
    learner.fit(2)  # and a fit after it
    return [[learner.model.weight.item()], *(xs.flatten().tolist() for xs, _ in learner.data.training)]


@pytest.mark.parametrize("callback", [Callback, LeaveSecondEpoch])
def test_it_goes_on_with_the_same_batches_from_every_step(callback: type[Callback], tmp_path: Path) -> None:
    whole = make(callback(), Checkpointer(tmp_path, every_steps=1, every_epochs=1))
    whole.fit(3)
    whole.remove_callback(Checkpointer)
    expected = weights_and_orders(whole)
    saved = checkpoints(tmp_path)
    assert len(saved) > 10
    for checkpoint in saved:
        learner = make(callback())
        resume(learner, checkpoint.path, without=["Checkpointer"])
        learner.fit(3)
        assert weights_and_orders(learner) == expected, checkpoint.path.name


def test_after_a_fit_that_was_ended_for_good_inside_of_a_pass_the_next_pass_begins_anew(tmp_path: Path) -> None:
    whole = make(StopInSecondEpoch(), Checkpointer(tmp_path))
    assert whole.fit(3).steps == 7
    learner = make(StopInSecondEpoch())
    resume(learner, tmp_path, without=["Checkpointer"])
    assert isinstance(learner.fit(3).cancelled, Enough)
    whole.set_callbacks([])
    learner.set_callbacks([])
    assert weights_and_orders(learner) == weights_and_orders(whole)


def test_a_fit_that_was_cancelled_between_two_steps_goes_on_inside_of_the_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    cancelled = make(Checkpointer(tmp_path))
    assert cancelled.fit(3, phases=[StopBetweenSteps()]).steps == 7
    monkeypatch.setattr(StopBetweenSteps, "at", None)
    learner = make()
    torch.manual_seed(0)  # of the orders
    whole = make()
    resume(learner, tmp_path, without=["Checkpointer"])
    learner.fit(3, phases=[StopBetweenSteps()])
    whole.fit(3, phases=[StopBetweenSteps()])
    assert weights_and_orders(learner) == weights_and_orders(whole)
