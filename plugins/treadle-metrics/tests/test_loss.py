import pytest
import torch
from treadle import epoch
from treadle_metrics import Loss, Metrics, Recorder, SmoothLoss


def test_a_step_has_its_loss_and_an_epoch_the_mean(learner, scripted):
    learner = learner(Recorder(), Metrics())
    epoch(learner, scripted, [1.0, 2.0, 6.0])
    epoch(learner, scripted, [4.0])
    steps, epochs = learner.cbstate.metricsstep[scripted]["Loss"], learner.cbstate.metricsepoch[scripted]["Loss"]
    assert (list(steps.iterations), list(steps.values)) == ([1, 2, 3, 4], [1.0, 2.0, 6.0, 4.0])
    assert (list(epochs.iterations), list(epochs.values)) == ([1, 2], [3.0, 4.0])


def test_a_phase_without_losses_has_no_series(learner, scripted):
    learner = learner(Recorder(), Metrics())
    epoch(learner, scripted, [None, None])
    assert learner.cbstate.metricsstep[scripted] == {}
    assert learner.cbstate.metricsepoch[scripted] == {}


def test_steps_without_a_loss_are_left_out(learner, scripted):
    learner = learner(Recorder(), Metrics())
    epoch(learner, scripted, [1.0, None, 3.0, None])
    steps = learner.cbstate.metricsstep[scripted]["Loss"]
    assert (list(steps.iterations), list(steps.values)) == ([1, 3], [1.0, 3.0])
    assert learner.cbstate.metricsepoch[scripted]["Loss"].last == (1, 2.0)


def test_a_loss_that_is_not_a_tensor_is_taken_as_it_is(learner, scripted):
    class Plain(type(scripted)):
        def step(self, learner, batch):
            super().step(learner, None)
            learner.step.loss = batch

    metric = Loss()
    plain = Plain()
    learner = learner()
    for value in (0.5, 1.5):
        plain.step(learner, value)
        metric.step(learner, plain)
    assert (metric.step_value(), metric.epoch_value()) == (1.5, 1.0)


def test_a_loss_on_an_accelerator_stays_there(learner, scripted, far):
    metric, learner = Loss(), learner()
    for value in (1.0, 2.0):
        scripted.step(learner, far(torch.tensor(value)))
        metric.step(learner, scripted)
    assert isinstance(metric.step_value(), far)
    assert isinstance(metric.epoch_value(), far)
    assert far.waits == []


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


def test_steps_without_a_loss_are_not_smoothed(learner, scripted):
    learner = learner(Recorder(), Metrics(SmoothLoss()))
    epoch(learner, scripted, [4.0, None])
    assert list(learner.cbstate.metricsstep[scripted]["SmoothLoss"].iterations) == [1]
