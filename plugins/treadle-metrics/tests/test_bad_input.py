"""Bad input: each is a typed error that names the thing and the fix."""

import math

import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryF1Score
from treadle import Phase, StepEnd, TrainingPhase, ValidationPhase, toy_learner
from treadle.errors import TreadleError
from treadle_metrics import (
    AbstractMetric,
    ByPhase,
    History,
    Loss,
    Metric,
    Metrics,
    Recorder,
    SeriesByPhase,
    Smooth,
    SmoothLoss,
    Traces,
    accuracy,
)


def error(yhats, ys):
    return (yhats - ys).abs().mean()


def trace(learner):
    return 1.0


class Unnamed(Loss):
    name = 3


class OfNoPhase(Loss):
    phase = TrainingPhase()


class OfATraining(Loss):
    phase = "training"


class Halfway:
    """It cannot be asked for its value."""

    def update(self, yhats, ys): ...

    def reset(self): ...


class TakesOne(Halfway):
    def update(self, yhats): ...

    def compute(self): ...


METHODS = ("reset", "step", "step_value", "epoch_value")
SCORES, CLASSES = torch.eye(4), torch.arange(4)

BAD = {
    "Metrics(3)": (lambda: Metrics(3), "got 3"),
    "Metrics(None)": (lambda: Metrics(None), "got None"),
    "Metrics('accuracy')": (lambda: Metrics("accuracy"), "got 'accuracy'"),
    "Metrics([error])": (lambda: Metrics([error]), r"Metrics\(accuracy"),
    "Metrics({'a': error})": (lambda: Metrics({"a": error}), "got {'a'"),
    "Metrics(Loss)": (lambda: Metrics(Loss), r"Metrics\(Loss\(\)\)"),
    "Metrics(BinaryF1Score)": (lambda: Metrics(BinaryF1Score), r"Metrics\(BinaryF1Score\(\)\)"),
    "Metrics(error, error)": (lambda: Metrics(error, error), "2 metrics with the name 'Error'"),
    "Metrics(Loss(), Loss())": (lambda: Metrics(Loss(), Loss()), "2 metrics with the name 'Loss'"),
    "two collections": (
        lambda: Metrics(MetricCollection([BinaryF1Score()]), MetricCollection([BinaryF1Score()])),
        "2 metrics with the name 'BinaryF1Score'",
    ),
    "a name that is no text": (lambda: Metrics(Unnamed()), r"name of a Unnamed .* got 3"),
    "a phase that is an instance": (lambda: Metrics(OfNoPhase()), r"OfNoPhase.phase is a type of phase"),
    "a phase that is a text": (lambda: Metrics(OfATraining()), r"OfATraining.phase is a type of phase"),
    "Metric()": (lambda: Metric(None), "got None"),
    "Metric(a class)": (lambda: Metric(BinaryF1Score), "or an object with update, compute and reset"),
    "Metric(without compute)": (lambda: Metric(Halfway()), "or an object with update, compute and reset"),
    "Metric(update takes one)": (lambda: Metric(TakesOne()), r"TakesOne is called with \(yhats, ys\)"),
    "Metric(lambda)": (lambda: Metric(lambda yhats, ys: 0.0), "A lambda has no name"),
    "Metric(takes one)": (lambda: Metric(trace), r"The metric Trace is called with \(yhats, ys\)"),
    "Metric(takes three)": (lambda: Metric(lambda a, b, c: 0, name="E"), r"The metric E is called with \(yhats, ys\)"),
    "Metric(name=3)": (lambda: Metric(error, name=3), r"name of Metric\(name\) .* got 3"),
    "Metric(name='')": (lambda: Metric(error, name=""), r"name of Metric\(name\) .* got ''"),
    "Metric(name=('a',))": (lambda: Metric(error, name=("a",)), "must be a text"),
    "Metric(name=True)": (lambda: Metric(error, name=True), "got True"),
    "Metric(statistic=max)": (lambda: Metric(error, statistic=max), "A statistic has update"),
    "Metric(statistic='mean')": (lambda: Metric(error, statistic="mean"), "A statistic has update"),
    "Metric(statistic=Smooth)": (lambda: Metric(error, statistic=Smooth), "A statistic has update"),
    "Metric(statistic=BinaryF1Score())": (lambda: Metric(error, statistic=Halfway()), "A statistic has update"),
    "Metric(statistic: update takes none)": (
        lambda: Metric(error, statistic=type("S", (TakesOne,), {"update": lambda self: None})()),
        r"Metric\(statistic\).update is called with \(value\)",
    ),
    "Metric(device='cud')": (lambda: Metric(error, device="cud"), "device is a device or a function"),
    "Metric(device=3.5)": (lambda: Metric(error, device=3.5), "device is a device or a function"),
    "Metric(device=a device that is not there)": (lambda: Metric(error, device="cuda:99"), "is not available"),
    "Metric(device takes three)": (lambda: Metric(error, device=lambda a, b, c: a), r"Metric\(device\) is called"),
    "Metric(device takes none)": (lambda: Metric(error, device=lambda: None), r"Metric\(device\) is called"),
    "Metric(phase=instance)": (lambda: Metric(error, phase=TrainingPhase()), "phase=TrainingPhase$"),
    "Metric(phase=text)": (lambda: Metric(error, phase="training"), "phase is a type of phase"),
    "Metric(phase=None)": (lambda: Metric(error, phase=None), "phase is a type of phase"),
    "Metric(phase=int)": (lambda: Metric(error, phase=int), "phase is a type of phase"),
    "Metric(phase=StepEnd)": (lambda: Metric(error, phase=StepEnd), "phase is a type of phase"),
    "Metric(phase=())": (lambda: Metric(error, phase=()), "phase is a type of phase"),
    "Metric(phase=(TrainingPhase, int))": (lambda: Metric(error, phase=(TrainingPhase, int)), "is a type of phase"),
    "Metric(phase=TrainingPhase | None)": (lambda: Metric(error, phase=TrainingPhase | None), "is a type of phase"),
    "Smooth(1)": (lambda: Smooth(1), "beta must be"),
    "Smooth(-0.1)": (lambda: Smooth(-0.1), "beta must be"),
    "Smooth(nan)": (lambda: Smooth(math.nan), "beta must be"),
    "Smooth(True)": (lambda: Smooth(True), "beta must be"),
    "Smooth('0.9')": (lambda: Smooth("0.9"), "beta must be"),
    "SmoothLoss(None)": (lambda: SmoothLoss(None), "beta must be"),
    "Traces({})": (lambda: Traces({}), "Traces got no function"),
    "Traces(None)": (lambda: Traces(None), "functions of the learner by name, got None"),
    "Traces(trace)": (lambda: Traces(trace), "functions of the learner by name"),
    "Traces([trace])": (lambda: Traces([trace]), "functions of the learner by name"),
    "Traces({'a': 3})": (lambda: Traces({"a": 3}), "functions of the learner by name"),
    "Traces({'a': None})": (lambda: Traces({"a": None}), "functions of the learner by name"),
    "Traces({1: trace})": (lambda: Traces({1: trace}), "name of a trace .* got 1"),
    "Traces({'': trace})": (lambda: Traces({"": trace}), "name of a trace .* got ''"),
    "Traces(takes none)": (lambda: Traces({"a": lambda: 1.0}), r"The trace 'a' is called with \(learner\)"),
    "Traces(takes two)": (lambda: Traces({"a": error}), r"The trace 'a' is called with \(learner\)"),
    "Traces(phase=instance)": (lambda: Traces({"a": trace}, TrainingPhase()), "phase=TrainingPhase$"),
    "Traces(phase=int)": (lambda: Traces({"a": trace}, int), "phase is a type of phase"),
    "Traces(state_access=3)": (lambda: Traces({"a": trace}, state_access=3), r"Traces\(state_access\) maps paths"),
    "Traces(state_access=[...])": (lambda: Traces({"a": trace}, state_access=["params"]), "maps paths"),
    "Traces(state_access of no path)": (
        lambda: toy_learner(Recorder(), Traces({"a": trace}, state_access={"parms": "r"})),
        "parms",
    ),
    "history['training']": (lambda: ByPhase(History)["training"], "The phase of a record"),
    "history[TrainingPhase]": (lambda: ByPhase(History)[TrainingPhase], r"TrainingPhase\(\)"),
    "ByPhase(3)": (lambda: ByPhase(3), r"ByPhase\(make\) must be a function"),
    "plot() of nothing": (lambda: SeriesByPhase("step").plot(), "Nothing is recorded yet"),
    "plot(names='Lose')": (lambda: SeriesByPhase("step").plot(names="Lose"), "There is no curve of 'Lose'"),
    "plot(names=3)": (lambda: SeriesByPhase("step").plot(names=3), "names must be a list"),
    "plot(names=[3])": (lambda: SeriesByPhase("step").plot(names=[3]), r"names\[0\] must be"),
    "plot(3)": (lambda: SeriesByPhase("step").plot(3), "path must be a path"),
    "to_csv(3)": (lambda: SeriesByPhase("step").to_csv(3), "path must be a path"),
    "to_csv(None)": (lambda: SeriesByPhase("step").to_csv(None), "path must be a path"),
    "accuracy of lists": (lambda: accuracy([[0.5, 0.5]], [1]), "accuracy compares two tensors"),
    "accuracy of a dict": (lambda: accuracy({"scores": SCORES}, CLASSES), "accuracy compares two tensors"),
    "accuracy of a number": (lambda: accuracy(torch.tensor(1.0), torch.tensor(1)), "a score for each class"),
    "accuracy of one score": (lambda: accuracy(SCORES[:, 0], CLASSES), "a score for each class"),
    "accuracy of one score in a column": (lambda: accuracy(SCORES[:, :1], CLASSES), "a score for each class"),
    "accuracy with other classes": (lambda: accuracy(SCORES[:, :3], SCORES), "must have the shape"),
    "accuracy with other rows": (lambda: accuracy(SCORES, CLASSES[:2]), "must have the shape"),
    "accuracy with a last axis": (lambda: accuracy(SCORES, CLASSES[:, None]), r"ys\.squeeze\(1\)"),
    "accuracy of no rows": (lambda: accuracy(SCORES[:0], CLASSES[:0]), "accuracy got no rows"),
    "accuracy of complex scores": (lambda: accuracy(SCORES.to(torch.complex64), CLASSES), "numbers that have an order"),
    "accuracy of booleans": (lambda: accuracy(SCORES > 0, CLASSES), "numbers that have an order"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_a_typed_error_that_names_the_thing_and_the_fix(make, message):
    with pytest.raises(TreadleError, match=message) as caught:
        make()
    assert "\nFix: " in str(caught.value) or "Did you mean" in str(caught.value)


GOOD = {
    "a union of phases": lambda: Metric(error, phase=TrainingPhase | ValidationPhase),
    "a tuple of phases": lambda: Metric(error, phase=(TrainingPhase, ValidationPhase)),
    "any phase": lambda: Metric(error, phase=Phase),
    "a function of any arguments": lambda: Metric(lambda *tensors: 0.0, name="Zero"),
    "a built-in function": lambda: Metric(torch.dist),
    "a net": lambda: Metric(torch.nn.PairwiseDistance()),
    "a device's number": lambda: Metric(error, device=torch.device("cpu")),
    "a trace of any arguments": lambda: Traces({"a": lambda *learner: 1.0}),
    "scores by place": lambda: accuracy(torch.rand(2, 3, 5, 5), torch.zeros(2, 5, 5, dtype=torch.long)),
    "one-hot classes": lambda: accuracy(SCORES, SCORES),
    "an AbstractMetric": lambda: Metrics(type("Mine", (AbstractMetric,), dict.fromkeys(METHODS, error))()),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD.keys())
def test_what_is_unusual_and_right_is_accepted(make):
    assert make() is not None
