import pytest
import torch
from treadle import Callback, TrainingPhase, Write, step, toy_learner
from treadle_sanity import CHECKS, SkipCheck
from treadle_sanity.trial import Trial, moved, shared_trials, trials


class Mover(Callback):
    """Declares what `ToDevice` declares; moves nothing itself."""

    state_access = {"step.xs": Write, "step.ys": Write}

    def move_data(self, tensor):
        return tensor

    def on_step_begin(self, learner): ...


def test_a_batch_is_moved_to_the_device_of_the_model_where_somebody_moves_batches():
    learner = toy_learner(Mover())
    learner.model.to("meta")
    xs, ys = moved(learner, (torch.ones(2, 1), {"label": torch.ones(2)}))
    assert (xs.device.type, ys["label"].device.type) == ("meta", "meta")


def test_without_such_a_callback_it_stays_where_it_is():
    learner = toy_learner()
    learner.model.to("meta")
    (xs,) = moved(learner, (torch.ones(2, 1),))
    assert xs.device.type == "cpu"


def test_what_only_the_step_knows_how_to_move_is_left_to_it():
    learner = toy_learner(Mover())
    with pytest.raises(SkipCheck, match="the batches hold object, and only the step itself knows how that is moved"):
        moved(learner, (object(), 1))


def test_a_trial_holds_what_a_step_would():
    learner = toy_learner()
    trial = Trial(learner, "training", TrainingPhase())
    state = step(learner, TrainingPhase(), learner.data.training[0])
    assert trial.error is None
    assert torch.equal(trial.xs, state.xs)
    assert torch.equal(trial.yhats, state.yhats)
    assert torch.equal(trial.loss, state.loss)


def test_trials_are_made_once_for_all_checks():
    learner = toy_learner()
    with shared_trials():
        assert trials(learner) == trials(learner)
    assert trials(learner)[0] is not trials(learner)[0]


def test_each_check_can_be_asked_by_itself():
    assert [check.fn(toy_learner()) for check in CHECKS] == [True] * len(CHECKS)
