"""The loss of an epoch, in names and as a rank, is the mean of its steps' losses, weighed by rows."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import (
    Callback,
    CancelStepException,
    Phase,
    Read,
    TrainingPhase,
    ValidationPhase,
    Write,
    run_step,
    toy_learner,
)
from treadle.errors import DataError
from treadle_checkpoint import Checkpointer, checkpoints, resume
from treadle_checkpoint.epoch_loss import EpochLoss

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def batches(sizes: list[int]) -> list[Any]:
    """Batches of these numbers of rows, of which no two have the same loss."""
    xs = torch.arange(1.0, 1 + sum(sizes)).reshape(-1, 1)
    return list(zip(xs.split(sizes), (3 * xs).split(sizes), strict=True))


class ByHand(Callback):
    """Adds up the losses of the rows of each epoch."""

    state_access = {"step.loss": Read, "step.xs": Read}
    optional_state = True

    def __init__(self) -> None:
        self.epochs: list[tuple[Phase, int, list[tuple[float, int]]]] = []

    def on_epoch_begin(self, learner: Any, phase: Phase) -> None:
        self.epochs.append((phase, learner.progress.steps, []))

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        newest = next(losses for known, _, losses in reversed(self.epochs) if known == phase)
        newest.append((learner.step.loss.item(), len(learner.step.xs)))

    def means(self, phase: Phase) -> list[float]:
        """The mean of each epoch of a phase."""
        epochs = [losses for known, _, losses in self.epochs if known == phase]
        return [sum(loss * rows for loss, rows in losses) / sum(rows for _, rows in losses) for losses in epochs]


class ValidateInside(Callback):
    """Validates in the first step of each epoch of training, inside of it."""

    state_access = {"loop": Write}

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        if learner.progress.step == 1:
            learner.loop.epoch(ValidationPhase())


@settings(max_examples=25, deadline=None)
@given(training=SIZES, validation=SIZES, length=st.sampled_from([{"n": 2}, {"n": 2, "validate_every": 2}]))
def test_names_and_ranks_are_the_means_over_rows_however_they_are_split(training, validation, length):
    with tempfile.TemporaryDirectory() as folder:
        learner = toy_learner(hand := ByHand(), Checkpointer(folder, every_epochs=1))
        learner.fit(data=(batches(training), batches(validation)), **length)
        saved = checkpoints(folder)
    assert [one.loss for one in saved] == pytest.approx(hand.means(TrainingPhase()))
    ranks = [one.score.value for one in saved if one.score.value is not None]
    if "validate_every" not in length:
        assert ranks == pytest.approx(hand.means(ValidationPhase()))
    assert all(any(rank == pytest.approx(mean) for mean in hand.means(ValidationPhase())) for rank in ranks)


def test_without_validation_training_ranks_by_that_mean(tmp_path):
    learner = toy_learner(hand := ByHand(), Checkpointer(tmp_path))
    learner.fit(3, (batches([4, 1]),))
    means, saved = hand.means(TrainingPhase()), checkpoints(tmp_path)
    assert [one.score.value for one in saved] == means
    assert [one.path.name[21:32] for one in saved] == [f"loss_{mean:.4f}" for mean in means]


def test_a_validation_inside_of_an_epoch_has_a_mean_of_its_own(tmp_path):
    learner = toy_learner(hand := ByHand(), Checkpointer(tmp_path, every_steps=1), ValidateInside())
    learner.fit(2, (batches([4, 1]), batches([1, 3])), phases=[TrainingPhase()])
    saved = checkpoints(tmp_path)
    assert [one.loss for one in saved if one.steps % 2 == 0] == hand.means(TrainingPhase())
    assert [one.score.value for one in saved if one.steps % 2] == hand.means(ValidationPhase())


def test_resumed_after_any_step_all_names_and_ranks_are_those_of_the_whole_run(tmp_path):
    def fit(folder: Any, path: Any = None) -> list[Any]:
        options = {"every_steps": 1, "every_epochs": 1, "during": Phase, "phase": Phase}
        learner = toy_learner(Checkpointer(folder, **options))
        if path is not None:
            resume(learner, path)
        learner.fit(2, (batches([4, 1, 2]), batches([1, 3, 1])))
        return [(one.epoch, one.steps, one.loss, one.score.value) for one in checkpoints(folder)]

    whole = fit(tmp_path / "whole")
    assert len({loss for _, _, loss, _ in whole}) == 6
    for i, one in enumerate(checkpoints(tmp_path / "whole"), 1):
        rest = fit(tmp_path / str(i), one.path)
        assert rest == whole[len(whole) - len(rest) :]
        assert len(rest) >= len(whole) - i


def test_a_step_that_was_cancelled_does_not_count(tmp_path):
    class CancelSecond(Callback):
        def on_backward_begin(self, learner: Any) -> None:
            if learner.progress.step == 2:
                raise CancelStepException

    learner = toy_learner(hand := ByHand(), CancelSecond(), Checkpointer(tmp_path))
    learner.fit(1, (batches([4, 1, 2]),))
    assert [rows for _, rows in hand.epochs[0][2]] == [4, 2]
    assert checkpoints(tmp_path)[0].loss == hand.means(TrainingPhase())[0]


class Bare(TrainingPhase):
    """Its batches are the losses of its steps, some of them with rows."""

    def step(self, learner: Any, batch: Any) -> None:
        loss, rows = batch
        with run_step(learner, self) as (_, state):
            state.loss = loss
            if rows:
                state.xs = torch.ones(rows)


def loss_of(folder: Any, data: list[Any]) -> float | None:
    toy_learner(Checkpointer(folder)).fit(1, (data,), phases=[Bare()])
    return checkpoints(folder)[0].loss


def test_in_a_phase_whose_steps_have_no_rows_all_weigh_the_same(tmp_path):
    assert loss_of(tmp_path, [(1.0, 0), (torch.tensor(2.0), 0), (6, 0)]) == 3.0


def test_steps_whose_loss_is_not_one_number_have_none(tmp_path):
    assert loss_of(tmp_path, [({"a": 1.0}, 0), (torch.ones(2), 0)]) is None


def test_rows_in_some_steps_and_none_in_others_are_refused_where_nobody_records_the_loss(tmp_path):
    with pytest.raises(DataError, match=r"Some batches of the epoch have rows .*\nFix: weigh all of them alike.*:\n  "):
        loss_of(tmp_path, [(1.0, 2), (1.0, 0)])


def test_what_is_on_an_accelerator_is_not_waited_for():
    loss = EpochLoss()
    for _ in range(100):
        loss.record({"loss": torch.ones((), device="meta"), "xs": torch.ones(2)})
    with pytest.raises(RuntimeError, match="meta"):  # which has no number
        _ = loss.value
