"""A checkpoint is ranked by a value that was measured with its own weights, and by no other."""

from __future__ import annotations

import math
import tempfile
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import (
    AbstractValidationPhase,
    Callback,
    CancelEpochException,
    Learner,
    Phase,
    PropDict,
    Read,
    Series,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    hookimpl,
    toy_learner,
)
from treadle_checkpoint import Checkpointer, best, checkpoints, latest, load_model, resume


class ByPhase(dict[Phase, PropDict]):
    def __missing__(self, phase: Phase) -> dict[str, Any]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class MeanLoss(Callback):
    """Records the mean loss of each epoch, as the callback `Metrics` does."""

    state_access = {"step.loss": Read, "cbstate.metricsepoch": Write}

    def __init__(self) -> None:
        self.losses: dict[Phase, list[float]] = {}

    def on_init(self, learner: Any) -> None:
        learner.cbstate.metricsepoch = ByPhase()

    def on_epoch_begin(self, phase: Phase) -> None:
        self.losses[phase] = []

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        self.losses[phase].append(learner.step.loss.item())

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        if losses := self.losses.pop(phase):
            series = learner.cbstate.metricsepoch.setdefault(phase, PropDict()).setdefault("Loss", Series())
            series.push(len(series) + 1, sum(losses) / len(losses))


class ValidateInside(Callback):
    """Validates after every n-th step of training, inside of it."""

    state_access = {"loop": Write}

    def __init__(self, n: int) -> None:
        self.n = n

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        if learner.progress.step % self.n == 0:
            learner.loop.epoch(ValidationPhase())


def validation_loss(learner: Learner, path: Any) -> float:
    """The mean loss over the batches of validation with the weights of a checkpoint."""
    model = load_model(torch.nn.Linear(1, 1, bias=False), path)
    with torch.no_grad():
        losses = [learner.lossfn(model(xs), ys).item() for xs, ys in learner.data.validation]
    return sum(losses) / len(losses)


def values_that_are_right(learner: Learner, folder: Any) -> list[float | None]:
    """The values of a folder's checkpoints, after a look at each: it is that of its own weights."""
    found = checkpoints(folder)
    for one in found:
        if one.score.value is not None:
            assert one.score.phase == "ValidationPhase"
            assert one.score.value == pytest.approx(validation_loss(learner, one), rel=1e-5)
    return [one.score.value for one in found]


@settings(max_examples=15, deadline=None)
@given(
    every_steps=st.none() | st.integers(1, 7),
    every_epochs=st.none() | st.integers(1, 2),
    phase=st.sampled_from([None, ValidationPhase, AbstractValidationPhase, Phase]),
    inner=st.none() | st.integers(1, 4),
    validation=st.booleans(),
    keep=st.none() | st.integers(0, 2),
)
def test_a_value_is_that_of_its_own_weights(every_steps, every_epochs, phase, inner, validation, keep):
    with tempfile.TemporaryDirectory() as folder:
        saving = Checkpointer(folder, every_steps=every_steps, every_epochs=every_epochs, phase=phase, keep_top_k=keep)
        callbacks = [ValidateInside(inner)] if inner else []
        learner = toy_learner(MeanLoss(), saving, *callbacks, nbatches=5)
        phases = [TrainingPhase(), ValidationPhase()] if validation else [TrainingPhase()]
        learner.fit(3, phases=phases)
        if validation or inner:
            values = values_that_are_right(learner, folder)
            if validation and every_steps is None and every_epochs != 2:
                assert None not in values
        else:
            ranked = [one for one in checkpoints(folder) if one.score.value is not None]
            assert all(one.steps % 5 == 0 and one.score.value == one.loss for one in ranked)


def test_what_is_saved_before_a_validation_is_ranked_by_it_and_kept_until_then(tmp_path):
    seen = []

    class Look(Callback):
        @hookimpl(wrapper=True)
        def epoch(self, phase: ValidationPhase):
            seen.append([one.score.value for one in checkpoints(tmp_path)])
            result = yield
            return result

    learner = toy_learner(MeanLoss(), Checkpointer(tmp_path, keep_top_k=1), Look())
    learner.fit(3)
    assert seen[0] == [None]
    assert all(values[-1] is None and None not in values[:-1] for values in seen[1:])
    assert None not in values_that_are_right(learner, tmp_path)


def test_entries_with_the_same_weights_are_all_ranked_and_the_first_is_the_best(tmp_path):
    learner = toy_learner(MeanLoss(), Checkpointer(tmp_path, every_steps=16, every_epochs=1))
    learner.fit(1)
    values = values_that_are_right(learner, tmp_path)
    assert len(values) == 2
    assert values[0] == values[1]
    assert best(tmp_path).number == 1


def test_without_validation_only_the_end_of_an_epoch_is_ranked_by_its_training_loss(tmp_path):
    learner = toy_learner(MeanLoss(), Checkpointer(tmp_path, every_steps=12, every_epochs=1))
    learner.fit(2, (learner.data.training,))
    assert [(one.steps, one.score.value) for one in checkpoints(tmp_path)] == [
        (12, None),
        (16, checkpoints(tmp_path)[1].loss),
        (24, None),
        (32, latest(tmp_path).loss),
    ]
    assert latest(tmp_path).score.phase == "TrainingPhase"


def test_a_validation_inside_of_an_epoch_ranks_what_is_saved_with_its_weights(tmp_path):
    learner = toy_learner(MeanLoss(), Checkpointer(tmp_path, every_steps=4), ValidateInside(8))
    learner.fit(1, phases=[TrainingPhase()])
    values = values_that_are_right(learner, tmp_path)
    assert [value is None for value in values] == [True, False, True, False]


@pytest.mark.parametrize("phase", [None, ValidationPhase, Phase])
def test_validation_outside_of_a_fit_ranks_saves_and_removes_nothing(tmp_path, phase):
    learner = toy_learner(MeanLoss(), Checkpointer(tmp_path, keep_top_k=1, phase=phase))
    learner.fit(3)
    before = [(one.path.name, one.score) for one in checkpoints(tmp_path)]
    epoch(learner, ValidationPhase(), [(torch.ones(8, 1), torch.full((8, 1), 3.0))])
    epoch(learner, ValidationPhase())
    assert [(one.path.name, one.score) for one in checkpoints(tmp_path)] == before


def test_weights_that_a_callback_changes_after_the_validation_have_no_value(tmp_path):
    class Prune(Callback):
        state_access = {"model": Write}

        def on_epoch_end(self, learner, phase: ValidationPhase):
            torch.nn.init.zeros_(learner.model.weight)

    toy_learner(Prune(), Checkpointer(tmp_path, phase=ValidationPhase)).fit(1)
    assert latest(tmp_path).score.value is None


def test_an_epoch_of_validation_without_a_value_ranks_nothing(tmp_path):
    class Values(Callback):
        """Cancels the second epoch of validation before its first step."""

        def __init__(self):
            self.epochs = 0

        def on_epoch_begin(self, phase: ValidationPhase):
            self.epochs += 1

        def on_step_begin(self, phase: ValidationPhase):
            if self.epochs == 2:
                raise CancelEpochException("Not this time.")

    learner = toy_learner(MeanLoss(), Values(), Checkpointer(tmp_path))
    learner.fit(3)
    values = values_that_are_right(learner, tmp_path)
    assert [value is None for value in values] == [False, True, False]


def test_of_two_phases_of_validation_the_first_ranks(tmp_path):
    class Other(ValidationPhase): ...

    learner = toy_learner(MeanLoss(), Checkpointer(tmp_path, phase=AbstractValidationPhase))
    learner.fit(2, phases=[TrainingPhase(), ValidationPhase(), Other()])
    assert len(checkpoints(tmp_path)) == 4
    assert None not in values_that_are_right(learner, tmp_path)


def test_killed_before_the_validation_an_entry_is_ranked_by_that_of_the_resumed_run(tmp_path):
    class PowerCut(Callback):
        def on_epoch_begin(self, learner, phase: ValidationPhase):
            if learner.progress.epoch == 2:
                raise KeyboardInterrupt

    learner = toy_learner(MeanLoss(), Checkpointer(tmp_path), PowerCut())
    with pytest.raises(KeyboardInterrupt):
        learner.fit(3)
    assert [one.score.value is None for one in checkpoints(tmp_path)] == [False, True]
    again = toy_learner(MeanLoss(), Checkpointer(tmp_path))
    resume(again, tmp_path)
    again.fit(3)
    values = values_that_are_right(learner, tmp_path)
    assert len(values) == 3
    assert None not in values


def test_a_value_that_is_not_finite_ranks_nothing(tmp_path):
    learner = toy_learner(MeanLoss(), Checkpointer(tmp_path))
    nothing = [(torch.ones(1, 1), torch.full((1, 1), math.nan))]
    learner.fit(1, (learner.data.training, nothing))
    assert latest(tmp_path).score.value is None


def test_what_ranks_is_weighed_as_metrics_weighs_it(tmp_path):
    metrics = pytest.importorskip("treadle_metrics", reason="treadle-metrics is not installed")
    validation = [(torch.zeros(6, 1), torch.full((6, 1), 4.0)), (torch.zeros(2, 1), torch.full((2, 1), 2.0))]
    training = [(torch.zeros(1, 1), torch.zeros(1, 1))]
    for name, measured, value in (("rows", metrics.Loss(), 3.5), ("batches", metrics.Loss(weight=None), 3.0)):
        learner = toy_learner(metrics.Recorder(), metrics.Metrics(measured), Checkpointer(tmp_path / name))
        learner.fit(1, (training, validation))
        assert [entry.score.value for entry in checkpoints(tmp_path / name)] == [value]
