import pytest
import torch
from treadle import Read, epoch
from treadle_metrics import AbstractMetric, Metrics, Recorder


class Calls(AbstractMetric):
    """Notes how it is called."""

    state_access = {"step.loss": Read}

    def __init__(self):
        self.calls = []
        self.losses = []

    def reset(self):
        self.calls.append("reset")
        self.losses = []

    def step(self, learner, phase):
        self.calls.append(f"step in {phase}")
        self.losses.append(learner.step.loss.item())

    def step_value(self):
        return self.losses[-1] if self.losses[-1] > 0 else None

    def epoch_value(self):
        return max(self.losses)


def test_it_is_reset_when_an_epoch_begins_and_measures_each_step(learner, scripted):
    metric = Calls()
    epoch(learner(Recorder(), Metrics(metric)), scripted, [1.0, 2.0])
    assert metric.calls[-3:] == ["reset", "step in Scripted()", "step in Scripted()"]


def test_its_name_is_its_classs_unless_it_was_set():
    metric = Calls()
    assert metric.name == "Calls"
    metric.name = "Largest loss"
    assert metric.name == "Largest loss"


def test_what_it_returns_is_recorded_and_none_is_not(learner, scripted):
    learner = learner(Recorder(), Metrics(Calls()))
    epoch(learner, scripted, [1.0, -1.0, 3.0])
    steps = learner.cbstate.metricsstep[scripted]["Calls"]
    assert (list(steps.iterations), list(steps.values)) == ([1, 3], [1.0, 3.0])
    assert learner.cbstate.metricsepoch[scripted]["Calls"].last == (1, 3.0)


def test_its_plain_attributes_are_its_state():
    first, second = Calls(), Calls()
    first.losses = [1.0, 2.0]
    first.largest = torch.tensor(2.0)
    second.load_state_dict(first.state_dict())
    assert (second.losses, second.largest) == ([1.0, 2.0], torch.tensor(2.0))


def test_all_four_methods_are_needed():
    class Half(AbstractMetric):
        def reset(self): ...

    with pytest.raises(TypeError, match="epoch_value"):
        Half()
