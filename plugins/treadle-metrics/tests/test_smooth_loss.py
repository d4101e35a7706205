import pytest
from treadle import epoch
from treadle_metrics import Metrics, Recorder, SmoothLoss


def test_steps_have_the_smoothed_loss_and_the_epoch_that_of_its_last_step(learner, scripted):
    learner = learner(Recorder(), Metrics(SmoothLoss(beta=0.98)))
    epoch(learner, scripted, [4.0, 2.0, 1.0])
    steps = learner.cbstate.metricsstep[scripted]["SmoothLoss"].values
    assert list(steps) == pytest.approx([4, 2.98989899, 2.31315467], abs=5e-9)
    assert learner.cbstate.metricsepoch[scripted]["SmoothLoss"].last == (1, steps[2])


def test_each_epoch_is_smoothed_afresh(learner, scripted):
    learner = learner(Recorder(), Metrics(SmoothLoss()))
    epoch(learner, scripted, [4.0, 2.0])
    epoch(learner, scripted, [7.0])
    assert learner.cbstate.metricsepoch[scripted]["SmoothLoss"].last == (2, pytest.approx(7.0, rel=1e-12))


def test_steps_without_a_loss_are_left_out(learner, scripted):
    learner = learner(Recorder(), Metrics(SmoothLoss()))
    epoch(learner, scripted, [4.0, None])
    assert list(learner.cbstate.metricsstep[scripted]["SmoothLoss"].iterations) == [1]
