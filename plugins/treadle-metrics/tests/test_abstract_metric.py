import collections
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from treadle import Read, epoch
from treadle_metrics import AbstractMetric, MetricError, Metrics, Recorder
from treadle_metrics.abstract_metric import attributes, number, set_attributes


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


@pytest.mark.parametrize("value", [0.5, Fraction(1, 2), np.float32(0.5), torch.tensor(0.5), torch.tensor([[0.5]])])
def test_a_number_comes_as_a_float(value):
    result = number(value, "Error")
    assert (result, type(result)) == (0.5, float)


def test_a_tensor_of_an_accelerator_comes_detached(far):
    value = far(torch.tensor(0.5))
    assert isinstance(number(value, "Error"), far)
    assert far.waits == []


@pytest.mark.parametrize(
    ("value", "got"), [(torch.ones(3), r"a tensor of shape \(3,\)"), (None, "a NoneType"), ({"a": 1}, "a dict")]
)
def test_a_value_that_is_not_a_number_is_refused_by_the_metrics_name(value, got):
    with pytest.raises(MetricError, match=f"'Error' gave {got}, and one number is recorded"):
        number(value, "Error")


class Holder:
    def __init__(self, **values):
        vars(self).update(values)


def test_plain_values_and_tensors_are_kept_and_settings_left_out():
    holder = Holder(count=3, name="a", none=None, parts=[1, {"b": 2.0}], key=len, kind=int, device=torch.device("cpu"))
    assert attributes(holder, "A") == {"count": 3, "name": "a", "none": None, "parts": [1, {"b": 2.0}]}


def test_what_is_kept_is_a_copy():
    holder = Holder(total=torch.tensor(1.0), parts=[1])
    state = attributes(holder, "A")
    holder.total += 1
    holder.parts.append(2)
    assert state == {"total": torch.tensor(1.0), "parts": [1]}


def test_what_is_put_back_is_a_copy():
    state = {"parts": [1]}
    holder = Holder()
    set_attributes(holder, state)
    holder.parts.append(2)
    assert state == {"parts": [1]}


def test_what_a_checkpoint_can_hold_is_kept_and_comes_back_as_it_was():
    holder = Holder(pair=(1, 2), counts={1: b"a", (2, None): [math.inf]}, array=np.arange(3))
    set_attributes(holder, attributes(holder, "A"))
    assert (holder.pair, holder.counts, holder.array.tolist()) == ((1, 2), {1: b"a", (2, None): [math.inf]}, [0, 1, 2])


@pytest.mark.parametrize("value", [torch.zeros(1, dtype=torch.complex128), np.array([None]), {1j: 2}, {3}])
def test_what_a_checkpoint_cannot_hold_is_refused_by_name(value):
    with pytest.raises(MetricError, match=r"cannot hold the state of the metric 'F1': `seen` of Holder is a "):
        attributes(Holder(seen=value), "F1")


def test_an_attribute_that_cannot_be_kept_is_refused_by_name():
    with pytest.raises(
        MetricError, match=r"'F1': `seen` of Holder is a Counter.*\nFix: give Holder the methods `state_dict`"
    ):
        attributes(Holder(seen=collections.Counter({1: 2})), "F1")
