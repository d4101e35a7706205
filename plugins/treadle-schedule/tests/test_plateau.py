import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau
from treadle import (
    Callback,
    CallbackConflictError,
    PropDict,
    Series,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    toy_learner,
)
from treadle.authoring import capture_run
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_schedule import HyperParameterError, LearningRate, Momentum, ReduceOnPlateau, Scheduler, WeightDecay


class ByPhase(dict):
    """Records by phase, as `treadle-metrics` keeps them."""

    def state_dict(self):
        return {}

    def load_state_dict(self, state): ...


class Metrics(Callback):
    """Records values from a list at the ends of the epochs of a phase."""

    state_access = {"cbstate.metricsepoch": Write}

    def __init__(self, values, phase=None, name="Loss"):
        self.values, self.phase, self.metric, self.count = list(values), phase or ValidationPhase(), name, 0

    def on_init(self, learner):
        phases = (TrainingPhase(), ValidationPhase())
        if "metricsepoch" not in learner.cbstate:
            learner.cbstate.metricsepoch = ByPhase({phase: PropDict() for phase in phases})

    def on_epoch_end(self, learner, phase):
        if phase == self.phase and self.count < len(self.values):
            series = learner.cbstate.metricsepoch[phase].setdefault(self.metric, Series())
            series.push(self.count, self.values[self.count])
            self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def two_groups(rates):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups)


def trained(values, optimizer=None, **options):
    """The learning rates of all groups after each epoch."""
    found = []
    learner = toy_learner(Metrics(values), ReduceOnPlateau(**options), optimizer=optimizer, nbatches=1)
    for _ in values:
        learner.fit(1)
        found.append([group["lr"] for group in learner.optimizer.param_groups])
    return found


VALUES = st.lists(
    st.one_of(
        st.sampled_from([math.nan, math.inf, -math.inf, 0.0]),
        st.floats(-2, 2),
        st.sampled_from([1.0, 0.9999, 0.99991, 1.0001]),
    ),
    min_size=1,
    max_size=15,
)


@settings(max_examples=40, deadline=None)
@given(
    VALUES,
    st.sampled_from(["min", "max"]),
    st.floats(0.1, 0.9),
    st.integers(0, 3),
    st.sampled_from([0.0, 1e-4, 0.1]),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.01]),
)
def test_it_reduces_as_torchs_does(values, mode, factor, patience, threshold, cooldown, least):
    optimizer = two_groups([0.1, 0.02])
    theirs = {"mode": mode, "factor": factor, "patience": patience, "threshold": threshold, "cooldown": cooldown}
    scheduler = ReduceLROnPlateau(optimizer, min_lr=least, eps=0, **theirs)
    expected = []
    for value in values:
        scheduler.step(value)
        expected.append([group["lr"] for group in optimizer.param_groups])
    assert trained(values, two_groups([0.1, 0.02]), **theirs, min_value=least) == expected


def test_nan_is_not_an_improvement():
    assert [rates[0] for rates in trained([1.0, math.nan, math.nan], patience=1)] == [0.001, 0.001, 0.0001]
    assert [rates[0] for rates in trained([math.nan, 1.0, 0.5], patience=0)] == [0.0001, 0.0001, 0.0001]


def test_it_looks_at_validation_where_the_fit_has_it_else_at_training():
    for phase, phases, reduced in [
        (ValidationPhase(), [TrainingPhase(), ValidationPhase()], True),
        (TrainingPhase(), [TrainingPhase(), ValidationPhase()], False),
        (TrainingPhase(), [TrainingPhase()], True),
    ]:
        values = Metrics([1.0, 2.0], phase)
        others = Metrics([3.0, 2.0], ValidationPhase() if phase == TrainingPhase() else TrainingPhase())
        others.name, others.run_after = "Others", (Metrics,)
        learner = toy_learner(values, others, ReduceOnPlateau(patience=0), nbatches=1)
        learner.fit(2, phases=phases)
        assert (learner.optimizer.param_groups[0]["lr"] < 0.001) == reduced


def test_epochs_that_are_run_one_by_one_are_looked_at_as_well():
    learner = toy_learner(Metrics([1.0, 2.0]), ReduceOnPlateau(patience=0), nbatches=1)
    for phase in (TrainingPhase(), ValidationPhase()) * 2:
        epoch(learner, phase)
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_an_epoch_without_a_new_value_does_not_count():
    learner = toy_learner(Metrics([1.0]), ReduceOnPlateau(patience=0), nbatches=1)
    learner.fit(3)
    assert learner.optimizer.param_groups[0]["lr"] == 0.001


def test_the_values_are_recorded_at_the_first_step_and_after_each_reduction():
    learner = toy_learner(Metrics([1.0, 1.0, 1.0]), ReduceOnPlateau(patience=0, factor=0.5), nbatches=4)
    learner.fit(3)
    series = learner.cbstate.hyperparams["LearningRate"]
    assert (list(series.iterations), list(series.values)) == ([0, 8, 12], [0.001, 0.0005, 0.00025])


def test_another_hyperparameter_and_another_metric():
    values = Metrics([0.5, 0.5], name="Accuracy")
    reduce = ReduceOnPlateau(WeightDecay, monitor="Accuracy", mode="max", patience=0)
    learner = toy_learner(
        values, reduce, optimizer=lambda params: torch.optim.SGD(params, lr=0.1, weight_decay=0.01), nbatches=1
    )
    learner.fit(2)
    assert learner.optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.001)


def test_a_resumed_run_goes_on_where_it_was():
    values = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]

    def make():
        return toy_learner(Metrics(values), ReduceOnPlateau(patience=1, cooldown=1, factor=0.5), nbatches=1)

    whole, first, second = make(), make(), make()
    whole.fit(6)
    first.fit(2)
    capture_run(first).put_back(second)
    second.fit(4)
    assert second.optimizer.param_groups[0]["lr"] == whole.optimizer.param_groups[0]["lr"] < 0.001
    assert second.callbacks[1].state_dict() == whole.callbacks[1].state_dict()


def test_in_a_second_learner_it_starts_again():
    reduce = ReduceOnPlateau(patience=1, factor=0.5)
    for _ in range(2):
        learner = toy_learner(Metrics([1.0] * 3), reduce, nbatches=1)
        learner.fit(3)
        assert learner.optimizer.param_groups[0]["lr"] == 0.0005


def test_a_metric_that_is_not_there_is_refused_with_a_guess():
    message = (
        r"ReduceOnPlateau\(monitor='Los'\): there is no such metric in ValidationPhase\(\)\. Did you mean `Loss`\?\n"
        r"Fix: name a metric that is recorded, or add it to `Metrics`\."
    )
    with pytest.raises(ArgumentValueError, match=message):
        toy_learner(Metrics([1.0]), ReduceOnPlateau(monitor="Los"), nbatches=1).fit(1)


def test_and_as_soon_as_that_is_known():
    metrics = pytest.importorskip("treadle_metrics", reason="treadle-metrics is not installed")

    def steps_before_the_error(monitor, *measured):
        learner = toy_learner(metrics.Recorder(), metrics.Metrics(*measured), ReduceOnPlateau(monitor=monitor))
        with pytest.raises(
            ArgumentValueError, match=r"there is no such metric\. Did you mean `\w+`\?\nFix: name a metric"
        ):
            learner.fit(1)
        return learner.progress.steps

    assert steps_before_the_error("Los") == 0
    assert steps_before_the_error("mse_loss", torch.nn.functional.mse_loss) == 1
    columns = metrics.Metrics(metrics.Metric(lambda yhats, ys: {"one": 1.0}, name="columns"))
    assert toy_learner(metrics.Recorder(), columns, ReduceOnPlateau(monitor="one")).fit(1).epochs == 1


def test_it_goes_with_a_scheduler_of_something_else_and_not_of_the_same():
    optimizer = lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9)  # noqa: E731
    toy_learner(Metrics([1.0]), ReduceOnPlateau(), Scheduler({Momentum: 0.5}), optimizer=optimizer).fit(1)
    with pytest.raises(CallbackConflictError, match="both set the hyperparameter LearningRate"):
        toy_learner(Metrics([1.0]), ReduceOnPlateau(), Scheduler({LearningRate: 0.5}))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"H": 3}, HyperParameterError, "3 is not a hyperparameter"),
        ({"monitor": 3}, ArgumentTypeError, r"ReduceOnPlateau\(monitor\) must be an instance of str, got 3"),
        ({"mode": "least"}, ArgumentValueError, r"ReduceOnPlateau\(mode\) has an invalid value: 'least'"),
        ({"factor": 1}, ArgumentValueError, r"ReduceOnPlateau\(factor\) must be a number above 0 and below 1, got 1"),
        ({"factor": "half"}, ArgumentTypeError, r"ReduceOnPlateau\(factor\) must be a number above 0"),
        ({"patience": -1}, ArgumentValueError, r"ReduceOnPlateau\(patience\) must be a whole number of at least 0"),
        ({"patience": 1.5}, ArgumentTypeError, r"ReduceOnPlateau\(patience\) must be a whole number of at least 0"),
        ({"threshold": math.nan}, ArgumentValueError, r"ReduceOnPlateau\(threshold\) must be a finite number"),
        ({"cooldown": True}, ArgumentTypeError, r"ReduceOnPlateau\(cooldown\) must be a whole number"),
        (
            {"min_value": -0.1},
            ArgumentValueError,
            r"ReduceOnPlateau\(min_value\) must be a finite number of at least 0",
        ),
    ],
)
def test_invalid_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        ReduceOnPlateau(**arguments)


def test_in_a_fit_that_validates_by_steps_patience_counts_validations():
    learner = toy_learner(Metrics([3.0] * 4), ReduceOnPlateau(patience=1, factor=0.5), nbatches=4)
    learner.fit(steps=12, validate_every=3)
    assert list(learner.cbstate.hyperparams["LearningRate"].iterations) == [0, 9]
