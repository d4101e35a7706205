"""Averages in checkpoints: the best holds what validation saw, and a run is resumed with both, at every step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from treadle import ValidationPhase, toy_learner
from treadle.testing import noisy_learner
from treadle_checkpoint import Checkpointer, best, checkpoints, latest, load_model, resume, save_run
from treadle_optim import EMA, SWA, Lookahead

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parents[2] / "plugins/treadle-optim/tests")
    from averaged_loops import Losses, equal, learner_of, network

AVERAGES = {
    "EMA": lambda: (EMA(0.8),),
    "EMA(every=3)": lambda: (EMA(0.8, every=3),),
    "SWA": lambda: (SWA(2),),
    "Lookahead": lambda: (Lookahead(3),),
    "Lookahead and EMA": lambda: (Lookahead(3), EMA(0.8)),
}


def run(make, folder, **options):
    callbacks = make()
    learner = learner_of(*callbacks, Losses(), Checkpointer(folder, **options), n=4)
    torch.manual_seed(7)
    return learner, callbacks


@pytest.mark.parametrize("during", ["training", "validation"])
@pytest.mark.parametrize("name", AVERAGES)
def test_resumed_after_every_step_the_run_is_the_same_bit_for_bit(name, during, tmp_path) -> None:
    options = {"every_steps": 1} | ({"during": ValidationPhase} if during == "validation" else {})
    learner, callbacks = run(AVERAGES[name], tmp_path / "run", **options)
    learner.fit(3)
    saved = checkpoints(tmp_path / "run")
    assert len(saved) >= 9
    for i, checkpoint in enumerate(saved):
        again, resumed = run(AVERAGES[name], tmp_path / f"again{i}", **options)
        resume(again, checkpoint, without=["Losses"])
        again.fit(3)
        assert equal(again.model, learner.model)
        for one, other in zip(callbacks, resumed, strict=True):
            if hasattr(one, "model"):
                assert equal(one.model(), other.model())
            assert one.state_dict().keys() == other.state_dict().keys()


@pytest.mark.parametrize("make", [lambda: EMA(0.8), lambda: SWA(1)])
def test_the_model_of_each_checkpoint_is_the_one_that_was_validated_and_ranked(make, tmp_path) -> None:
    average = make()
    learner = learner_of(average, Losses(), Checkpointer(tmp_path / "run"))
    learner.fit(3)
    for checkpoint in checkpoints(tmp_path / "run"):
        measured = learner_of(model=load_model(network(), checkpoint)).evaluate()
        assert checkpoint.score.phase == "ValidationPhase"
        assert checkpoint.score.value == measured["Loss"]
    assert equal(load_model(network(), latest(tmp_path / "run")), average.model())
    assert not equal(average.model(), learner.model)


def test_the_best_can_be_resumed_with_the_trained_weights(tmp_path) -> None:
    ema = EMA(0.8)
    learner = toy_learner(ema, Checkpointer(tmp_path / "run"))
    learner.fit(1)
    trained, averaged = learner.model.weight.item(), ema.model().weight.item()
    learner.fit(1)
    again = EMA(0.8)
    other = toy_learner(again, Checkpointer(tmp_path / "again"))
    resume(other, checkpoints(tmp_path / "run")[0])
    assert (other.model.weight.item(), again.model().weight.item()) == (trained, averaged)


def test_without_validation_the_model_of_a_checkpoint_is_averaged_too(tmp_path) -> None:
    ema = EMA(0.8)
    learner = toy_learner(ema, Checkpointer(tmp_path))
    learner.fit(2, (learner.data.training,))
    assert load_model(toy_learner().model, best(tmp_path)).weight.item() in {
        load_model(toy_learner().model, one).weight.item() for one in checkpoints(tmp_path)
    }
    assert load_model(toy_learner().model, latest(tmp_path)).weight.equal(ema.model().weight)


def test_save_run_and_the_model_alone_hold_the_averages(tmp_path) -> None:
    ema = EMA(0.8)
    learner = toy_learner(ema, Checkpointer(tmp_path / "alone", whole_run=False))
    learner.fit(2)
    save_run(learner, tmp_path / "saved")
    for path in (tmp_path / "saved", latest(tmp_path / "alone")):
        assert load_model(toy_learner().model, path).weight.equal(ema.model().weight)
    other = toy_learner(EMA(0.8))
    resume(other, tmp_path / "saved", without=["Checkpointer"])
    assert other.model.weight.equal(learner.model.weight)


def test_a_run_with_default_callbacks_and_noise_is_resumed_with_both(tmp_path) -> None:
    learner = noisy_learner(EMA(0.8), Checkpointer(tmp_path / "run", every_steps=3))
    learner.fit(2)
    other = noisy_learner(EMA(0.8), Checkpointer(tmp_path / "again", every_steps=3))
    resume(other, checkpoints(tmp_path / "run")[1])
    other.fit(2)
    assert equal(other.model, learner.model)
