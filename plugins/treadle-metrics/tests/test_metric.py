import functools
import re

import pytest
import torch
import torchmetrics
from treadle import AbstractTrainingPhase, AbstractValidationPhase, TrainingPhase, ValidationPhase, epoch
from treadle.errors import ArgumentTypeError
from treadle_metrics import Metric, MetricError, Metrics, Recorder, accuracy
from treadle_metrics.metric import placement

ONE, TWO = torch.tensor(1), torch.tensor(2)


def difference(yhats, ys):
    return (yhats - ys).abs().mean()


class Maximum:
    """A statistic with nothing but the three methods."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.value = None

    def update(self, value):
        self.value = value if self.value is None else max(value, self.value)

    def compute(self):
        return self.value


def measured(learner, phase, metric, batches):
    """The values of the steps and of the epoch."""
    learner = learner(Recorder(), Metrics(metric))
    epoch(learner, phase, [(torch.tensor(yhats), torch.tensor(ys)) for yhats, ys in batches])
    name = learner.get_callback(Metrics).metrics[1].name
    steps = learner.cbstate.metricsstep[phase][name]
    return list(steps.values), learner.cbstate.metricsepoch[phase][name].last[1]


def test_a_function_is_measured_at_each_step_and_averaged_over_the_epoch(learner, outputs):
    batches = [([1.0, 2.0], [1.0, 2.0]), ([1.0, 2.0], [2.0, 4.0]), ([3.0], [0.0])]
    assert measured(learner, outputs, difference, batches) == ([0.0, 1.5, 3.0], 1.5)


def test_the_mean_is_over_steps_and_not_over_rows(learner, outputs):
    batches = [([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]), ([3.0], [0.0])]
    assert measured(learner, outputs, difference, batches)[1] == 1.5


def test_another_statistic_makes_the_epochs_value(learner, outputs):
    batches = [([1.0], [0.0]), ([5.0], [0.0]), ([3.0], [0.0])]
    assert measured(learner, outputs, Metric(difference, statistic=Maximum()), batches) == ([1.0, 5.0, 3.0], 5.0)


def test_a_statistic_of_steps_that_never_ran_gives_no_value(learner, outputs, scripted):
    learner = learner(Recorder(), Metrics(Metric(difference, statistic=Maximum())))
    epoch(learner, scripted, [1.0])
    assert list(learner.cbstate.metricsepoch[scripted]) == ["Loss"]


def test_what_it_compares_can_be_brought_into_another_form(learner, outputs):
    metric = Metric(difference, device=lambda yhats, ys: (yhats * 10, ys))
    assert measured(learner, outputs, metric, [([1.0], [0.0])]) == ([10.0], 10.0)


def test_a_function_may_return_a_plain_number(learner, outputs):
    assert measured(learner, outputs, Metric(lambda yhats, ys: 3, name="Three"), [([1.0], [0.0])]) == ([3.0], 3.0)


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (accuracy, "Accuracy"),
        (torch.nn.functional.mse_loss, "Mse_loss"),
        (functools.partial(difference), "Difference"),
        (torch.nn.CosineSimilarity(), "CosineSimilarity"),
        (torchmetrics.MeanSquaredError(), "MeanSquaredError"),
    ],
)
def test_the_name_is_the_functions_or_the_classs_capitalised(fn, name):
    assert Metric(fn).name == name


def test_a_name_can_be_given():
    assert Metric(accuracy, name="Share of right answers").name == "Share of right answers"


@pytest.mark.parametrize("phase", [ValidationPhase, AbstractValidationPhase, ValidationPhase | AbstractTrainingPhase])
def test_a_phase_restricts_it(learner, phase):
    learner = learner(Recorder(), Metrics(Metric(torch.nn.functional.mse_loss, phase=phase)))
    learner.fit(1)
    everywhere = phase not in (ValidationPhase, AbstractValidationPhase)
    for recorded in (learner.cbstate.metricsstep, learner.cbstate.metricsepoch):
        assert list(recorded[ValidationPhase()]) == ["Loss", "Mse_loss"]
        assert ("Mse_loss" in recorded[TrainingPhase()]) is everywhere


def test_it_is_measured_without_gradients(learner):
    seen = []

    def needs_gradient(yhats, ys):
        seen.append((yhats.requires_grad, (yhats**2).requires_grad))
        return 0.0

    learner(Recorder(), Metrics(needs_gradient), nbatches=1).fit(1)
    assert seen == [(False, False), (False, False)]


def test_outputs_that_are_not_a_tensor_are_measured_without_gradients(learner, outputs):
    weight = torch.ones(1, requires_grad=True)
    seen = []
    metric = Metric(lambda yhats, ys: seen.append((yhats["a"] * 2).requires_grad) or 1.0, name="Seen")
    epoch(learner(Recorder(), Metrics(metric)), outputs, [({"a": weight}, None)])
    assert seen == [False]


def test_a_phase_without_outputs_has_no_value(learner, scripted):
    learner = learner(Recorder(), Metrics(difference))
    epoch(learner, scripted, [1.0, 2.0])
    assert list(learner.cbstate.metricsstep[scripted]) == ["Loss"]


def test_values_on_an_accelerator_stay_there(learner, outputs, far):
    metric, learner = Metric(accuracy), learner()
    scores, classes = far(torch.eye(2)), far(torch.tensor([0, 0]))
    for _ in range(3):
        outputs.step(learner, (scores, classes))
        metric.step(learner, outputs)
    assert isinstance(metric.step_value(), far)
    assert metric.epoch_value().near.item() == 0.5
    assert far.waits == []


def test_what_is_not_a_number_is_refused_by_name(learner, outputs):
    with pytest.raises(MetricError, match=r"'Sub' gave a tensor of shape \(2,\).*\nFix: reduce it"):
        measured(learner, outputs, Metric(torch.sub, name="Sub"), [([1.0, 2.0], [0.0, 0.0])])


def test_an_error_of_the_function_is_passed_on_with_the_metrics_name(learner, outputs):
    def broken(yhats, ys):
        raise RuntimeError("no such class")

    with pytest.raises(RuntimeError, match="no such class") as info:
        measured(learner, outputs, broken, [([1.0], [0.0])])
    assert info.value.__notes__[0] == "Raised by the metric 'Broken'."
    assert re.fullmatch(r"Raised by Metrics.* in on_step_end, \w+, epoch \d, step 1\.", info.value.__notes__[1])


def test_a_lambda_needs_a_name():
    with pytest.raises(ArgumentTypeError, match=r"A lambda has no name.*\n.*\n    .*name=\"Error\""):
        Metric(lambda yhats, ys: 0)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(ArgumentTypeError, match=r"a function fn\(yhats, ys\), or an object with update.*got 3"):
        Metric(3)


def test_an_invalid_statistic_is_refused():
    with pytest.raises(
        ArgumentTypeError,
        match=r"A statistic has update, compute and reset, got .*max.*\nFix: .*\n    Metric\(accuracy, statistic=",
    ):
        Metric(accuracy, statistic=max)


@pytest.mark.parametrize(
    ("phase", "got", "fix"),
    [(TrainingPhase(), r"TrainingPhase\(\)", "TrainingPhase"), ("training", "'training'", "ValidationPhase")],
)
def test_a_phase_that_is_not_a_type_is_refused(phase, got, fix):
    with pytest.raises(
        ArgumentTypeError, match=rf"a type of phase, got {got}\.\nFix: pass the class:\n    phase={fix}$"
    ):
        Metric(accuracy, phase=phase)


@pytest.mark.parametrize("device", ["meta", torch.device("meta")])
def test_a_device_takes_both(device):
    yhats, ys = placement(device)(ONE, TWO)
    assert (yhats.device.type, ys.device.type) == ("meta", "meta")


def test_a_device_takes_the_tensors_in_mappings_and_lists():
    yhats, ys = placement("meta")({"scores": ONE}, [TWO, "label"])
    assert (yhats["scores"].device.type, ys[0].device.type, ys[1]) == ("meta", "meta", "label")


def test_a_function_of_both_gives_both():
    assert placement(lambda yhats, ys: (yhats + 1, ys - 1))(1, 2) == (2, 1)


def test_a_function_of_one_is_applied_to_each():
    assert placement(lambda tensors: tensors * 10)(1, 2) == (10, 20)


@pytest.mark.parametrize("device", [3.5, "nowhere"])
def test_what_is_neither_device_nor_function_is_refused(device):
    with pytest.raises(ArgumentTypeError, match=r'a device or a function of .*, got .*\nFix: .*\n    device="cpu"'):
        placement(device)
