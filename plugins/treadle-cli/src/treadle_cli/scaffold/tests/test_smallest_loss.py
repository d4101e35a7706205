"""What is special about `SmallestLoss`."""

import pytest
import torch
from treadle import CustomCallback, Read, StepEnd, TrainingPhase, toy_learner
from treadle.errors import ArgumentValueError
from treadle_smallest_loss import SmallestLoss


@pytest.mark.parametrize("warmup", [0, 10])
def test_it_keeps_the_smallest_loss_of_the_steps_after_the_warmup(warmup):
    losses = []
    collect = CustomCallback(
        lambda learner: losses.append(learner.step.loss.detach()), StepEnd, TrainingPhase, {"step.loss": Read}
    )
    learner = toy_learner(SmallestLoss(warmup), collect)
    learner.fit(1)
    assert torch.equal(learner.cbstate.smallest_loss, torch.stack(losses[warmup:]).min())


def test_it_works_by_its_name_and_is_found_as_a_plugin():
    learner = toy_learner("smallest_loss")
    learner.fit(1)
    assert learner.get_callback(SmallestLoss) is not None


def test_a_negative_warmup_is_refused():
    with pytest.raises(ArgumentValueError, match=r"SmallestLoss\(warmup\)"):
        SmallestLoss(warmup=-1)
