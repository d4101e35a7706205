"""Epoch values are means over rows, or over whatever the batches are weighed by."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, mse_loss
from torchmetrics import MeanMetric, MeanSquaredError
from treadle import Learner, Phase, Read, ValidationPhase, accesses, epoch, run_step, toy_learner
from treadle.errors import ArgumentTypeError, ArgumentValueError, DataError, ProtectedException
from treadle_metrics import Loss, Metric, Metrics, Recorder, SmoothLoss, accuracy

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def batches(sizes):
    """Batches of these sizes."""
    xs = torch.randn(sum(sizes), 1, generator=torch.Generator().manual_seed(0))
    return list(zip(xs.split(sizes), (3 * xs + 1).split(sizes), strict=True))


def whole(data):
    """All rows as one batch."""
    return [tuple(map(torch.cat, zip(*data, strict=True)))]


def measured(data, *metrics):
    """The values of an epoch with some metrics, by column."""
    return values(toy_learner(Recorder(), Metrics(*metrics)), data)


def values(learner, data):
    """The values of an epoch, by column."""
    phase = ValidationPhase()
    epoch(learner, phase, data)
    return {name: series.last[1] for name, series in learner.cbstate.metricsepoch[phase].items()}


def parts(yhats, ys):
    error = (yhats - ys).abs()
    return {"mean": error.mean(), "close": (error < 1).float().mean()}


BY_ROWS = toy_learner(Recorder(), Metrics(mse_loss, parts))
PLAIN = toy_learner(Recorder(), Metrics(Loss(weight=None), Metric(mse_loss, weight=None)))


@settings(max_examples=30, deadline=None)
@given(SIZES)
def test_epoch_values_are_those_of_all_rows_at_once_however_they_are_split(sizes):
    data = batches(sizes)
    assert values(BY_ROWS, data) == pytest.approx(values(BY_ROWS, whole(data)), rel=1e-5)


def by_hand(yhats, ys):
    """An accuracy as people write it."""
    return ((yhats[:, 1] > 0.5) == (ys > 0.5)).float().mean()


def answers(sizes, wrong):
    """Batches of these sizes, of which a model that gives back its inputs answers so many rows wrong."""
    ys = torch.arange(sum(sizes)) % 2
    right = torch.arange(sum(sizes)) >= wrong
    xs = torch.nn.functional.one_hot(torch.where(right, ys, 1 - ys), 2).float()
    return list(zip(xs.split(sizes), ys.split(sizes), strict=True))


FLATTENING = Learner(
    torch.nn.Flatten(),
    cross_entropy,
    callbacks=[Recorder(), Metrics(accuracy, by_hand)],
    use_default_callbacks=False,
)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8), data=st.data())
def test_equally_many_hits_in_an_epoch_have_equal_values_however_they_are_split(sizes, data):
    wrong = data.draw(st.integers(0, sum(sizes)))
    found, right = values(FLATTENING, answers(sizes, wrong)), (sum(sizes) - wrong) / sum(sizes)
    assert (found["Accuracy"], found["By_hand"]) == (right, right)


@settings(max_examples=20, deadline=None)
@given(SIZES)
def test_the_plain_mean_over_batches_is_there_on_request(sizes):
    data = batches(sizes)
    one_by_one = [values(PLAIN, [batch]) for batch in data]
    plain = {name: sum(one[name] for one in one_by_one) / len(one_by_one) for name in ("Loss", "Mse_loss")}
    assert values(PLAIN, data) == pytest.approx(plain, rel=1e-6)


def test_a_function_weighs_by_tokens():
    logits = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    ys = torch.tensor([3, -100, 1, 0, -100, -100, 4])  # -100 is padding, which the loss leaves out
    data = [(logits[:2], ys[:2]), (logits[2:], ys[2:])]

    def tokens(step):
        return (step.ys != -100).sum()

    metrics = Metrics(Loss(weight=tokens), Metric(cross_entropy, weight=tokens), Metric(cross_entropy, name="By rows"))
    model = torch.nn.Linear(5, 5)
    with torch.no_grad():
        model.weight.copy_(torch.eye(5))
        model.bias.zero_()
    learner = Learner(model, cross_entropy, callbacks=[Recorder(), metrics], use_default_callbacks=False)
    found, right = values(learner, data), pytest.approx(cross_entropy(logits, ys).item(), rel=1e-6)
    assert (found["Loss"], found["Cross_entropy"]) == (right, right)
    assert found["By rows"] != pytest.approx(found["Loss"], rel=1e-3)


def test_a_batch_without_tokens_is_left_out_of_an_epoch():
    data = batches([3, 2])
    data[1] = (data[1][0], torch.full((2, 1), math.nan))
    weight = lambda step: step.ys.isfinite().sum()  # noqa: E731
    assert measured(data, Loss(weight=weight))["Loss"] == measured(data[:1])["Loss"]


class Generates(Phase):
    """Its steps have a loss and no inputs."""

    def step(self, learner, batch):
        with run_step(learner, self) as (_, state):
            state.loss = torch.tensor(batch)


class Sometimes(Phase):
    """Some of its steps have inputs."""

    def step(self, learner, batch):
        with run_step(learner, self) as (_, state):
            state.loss = torch.tensor(1.0)
            if batch:
                state.xs = torch.ones(batch)


def test_in_a_phase_whose_steps_have_no_inputs_all_batches_weigh_the_same():
    learner = toy_learner(Recorder(), Metrics())
    epoch(learner, Generates(), [1.0, 2.0, 6.0])
    assert learner.cbstate.metricsepoch[Generates()]["Loss"].last == (1, 3.0)


def test_rows_in_some_steps_and_none_in_others_are_refused_with_the_metric_that_weighs_by_them():
    learner = toy_learner(Recorder(), Metrics())
    with pytest.raises(DataError, match=r"Some batches of the epoch have rows and others have none"):
        epoch(learner, Sometimes(), [3, 0])
    learner.replace_callback(Metrics(Loss(weight=None)))
    epoch(learner, Sometimes(), [3, 0])
    assert learner.cbstate.metricsepoch[Sometimes()]["Loss"].last[1] == 1.0


def test_the_smoothed_loss_an_object_that_accumulates_and_a_statistic_have_weights_of_their_own():
    data = batches([4, 1])
    plain = [measured([batch])["Loss"] for batch in data]
    found = measured(data, SmoothLoss(0.5), MeanSquaredError(), Metric(parts, statistic=MeanMetric()))
    assert found["SmoothLoss"] == pytest.approx((plain[0] + 2 * plain[1]) / 3)
    assert found["MeanSquaredError"] == pytest.approx(measured(data, mse_loss)["Mse_loss"])
    assert found["mean"] == pytest.approx(sum(plain) / 2)


def test_it_reads_what_it_weighs_by():
    loss = {"cbstate.history", "step.loss"}
    assert accesses(Metrics(Loss(weight=None)), Read) == loss
    assert accesses(Metrics(Loss()), Read) == loss | {"step.xs"}
    assert accesses(Metrics(Loss(weight=lambda step: 1)), Read) == loss | {"step.xs", "step.ys"}
    masked = Loss(weight=lambda step: step.mask.sum(), state_access={"step.mask": Read})
    assert accesses(Metrics(masked), Read) == loss | {"step.mask"}
    assert Metric(MeanSquaredError()).state_access.keys() == {"step.yhats", "step.ys"}


def test_a_function_that_reads_what_is_not_declared_is_refused():
    learner = toy_learner(Recorder(), Metrics(Loss(weight=lambda step: step.mask.sum())))
    with pytest.raises(ProtectedException, match=r"Metrics reads `step\.mask` and does not declare it"):
        learner.fit(1)


def test_weighing_what_is_on_an_accelerator_does_not_wait_for_it(learner, far):
    class There(Phase):
        def step(self, learner, batch):
            with run_step(learner, self, xs=torch.ones(batch), mask=far(torch.ones(batch))) as (_, state):
                state.loss = far(torch.tensor(float(batch)))

    by_mask = Loss(weight=lambda step: step.mask.sum(), state_access={"step.mask": Read})
    by_mask.name = "By mask"
    learner = learner(Recorder(), Metrics(by_mask))
    epoch(learner, There(), [3] * 90)
    assert far.waits == ["is_nonzero"] or far.waits == ["_local_scalar_dense"]  # once in an epoch


BAD = {
    "a word": (lambda: Metric(mse_loss, weight="tokens"), ArgumentValueError, r"Metric\(weight\) has an invalid value"),
    "the loss's": (lambda: Loss(weight=2), ArgumentTypeError, r"Loss\(weight\) must be a function, got 2"),
    "with an object that accumulates": (
        lambda: Metric(MeanSquaredError(), weight=lambda step: 1),
        ArgumentValueError,
        r"MeanSquaredError has an object that accumulates, which makes the value of an epoch by itself, and a `weight`",
    ),
    "with a statistic": (
        lambda: Metric(mse_loss, statistic=MeanMetric(), weight=lambda step: 1),
        ArgumentValueError,
        r"Mse_loss has a statistic, which makes the value of an epoch by itself, and a `weight`",
    ),
    "access without a function": (
        lambda: Loss(state_access={"step.mask": Read}),
        ArgumentValueError,
        r"Loss\(state_access\) is what a function `weight` reads, and Loss\(weight\) is 'rows'",
    ),
    "access of another type": (
        lambda: Metric(mse_loss, weight=lambda step: 1, state_access="step.mask"),
        ArgumentTypeError,
        r"Metric\(state_access\) maps paths to Read, got 'step\.mask'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_an_argument_that_cannot_be_used_is_refused(name):
    make, error, match = BAD[name]
    with pytest.raises(error, match=rf"{match}.*\nFix: "):
        make()
