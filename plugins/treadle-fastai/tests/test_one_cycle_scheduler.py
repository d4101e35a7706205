"""`OneCycleScheduler`: one cycle over all batches of a fit."""

import math

import pytest
import torch
from treadle import Callback, CallbackConflictError, Read, TrainingPhase, toy_learner
from treadle.errors import ArgumentTypeError, DataError
from treadle_fastai import OneCycleScheduler
from treadle_schedule import Exp, LearningRate, Scheduler


class Values(Callback):
    """Note what each step trains with."""

    state_access = {"optimizer": Read}

    def __init__(self) -> None:
        self.values = []

    def on_loss_begin(self, learner, phase: TrainingPhase):
        group = learner.optimizer.param_groups[0]
        self.values.append((group["lr"], group["momentum"]))


def half_cosine(start, end, n):
    return [end + (start - end) / 2 * (math.cos(math.pi * i / n) + 1) for i in range(n)]


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=1.0, momentum=0.5)


def test_the_rate_rises_and_falls_along_cosines_and_the_momentum_against_it() -> None:
    values = Values()
    learner = toy_learner(OneCycleScheduler(lr_max=0.01), values, nbatches=5, optimizer=sgd)
    assert learner.fit(2).cancelled is None
    rates = half_cosine(0.01 / 25, 0.01, 3) + half_cosine(0.01, 0.01 / 25e4, 7)
    moms = half_cosine(0.95, 0.85, 3) + half_cosine(0.85, 0.95, 7)
    assert [rate for rate, _ in values.values] == pytest.approx(rates)
    assert [mom for _, mom in values.values] == pytest.approx(moms)
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 / 25e4)
    assert list(learner.cbstate.hyperparams.LearningRate.values)[:10] == pytest.approx(rates)
    assert list(learner.cbstate.hyperparams.Momentum.iterations) == list(range(11))


def test_an_optimizer_without_momentum_goes_without() -> None:
    learner = toy_learner(OneCycleScheduler(lr_max=0.01), nbatches=5, optimizer=torch.optim.Adagrad)
    learner.fit(1)
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.01 / 25e4)


def test_without_a_rate_or_a_number_of_batches_it_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"OneCycleScheduler needs a learning rate\.\nFix: write"):
        OneCycleScheduler()

    class Endless:
        def __iter__(self):
            return iter(toy_learner(nbatches=2).data.training)

    learner = toy_learner(OneCycleScheduler(lr_max=0.01))
    with pytest.raises(
        DataError, match=r"needs to know how many batches a fit has.*\nFix: pass a loader with a length"
    ):
        learner.fit(1, (Endless(),))


def test_another_one_that_sets_the_rate_is_refused() -> None:
    with pytest.raises(CallbackConflictError, match="both set the hyperparameter LearningRate"):
        toy_learner(OneCycleScheduler(lr_max=0.01), Scheduler({LearningRate: Exp(start=0.1, decay=0.5)}))
