"""What runs after a fit that was stopped early, and is no part of it."""

import pytest
import torch
from loguru import logger
from treadle import Callback, Read, ValidationPhase, Write, epoch, toy_learner
from treadle_optim import EMA
from treadle_stopping import EarlyStopping, NumberLimit


class AtTheEnd(Callback):
    """Evaluates when the fit has ended."""

    state_access = {"loop": Write, "data": Read}
    values = None

    def on_fit_end(self, learner):
        self.values = learner.loop.evaluate(learner.data.validation)


def stopped(*others, **options):
    learner = toy_learner(EarlyStopping(NumberLimit(2), **options), *others)
    assert learner.fit(5).cancelled is not None
    return learner


@pytest.mark.parametrize("options", [{"restore_best": True}, {"restore_best": True, "keep_state": True}, {}])
def test_a_learner_whose_fit_was_stopped_evaluates_and_predicts(options):
    learner = stopped(**options)
    plain = toy_learner()
    plain.model.load_state_dict(learner.model.state_dict())
    assert learner.evaluate() == plain.evaluate()
    assert torch.equal(learner.predict(learner.data.validation), plain.predict(plain.data.validation))


@pytest.mark.parametrize("keep_state", [False, True])
def test_and_runs_an_epoch_of_validation(keep_state):
    learner = stopped(keep_state=keep_state)
    epoch(learner, ValidationPhase())
    assert learner.step.loss >= 0


def test_and_is_evaluated_at_the_end_of_that_fit():
    last = AtTheEnd()
    learner = stopped(last, restore_best=True)
    assert last.values.keys() == learner.evaluate().keys()


@pytest.fixture
def warnings():
    messages = []
    sink = logger.add(messages.append, format="{message}", level="WARNING")
    yield messages
    logger.remove(sink)


def test_weights_that_were_restored_beside_averages_are_warned_about_since_those_are_evaluated(warnings):
    stopping = EarlyStopping(patience=2, restore_best=True)
    learner = toy_learner(EMA(0.5), stopping, optimizer=lambda params: torch.optim.SGD(params, lr=0.001, maximize=True))
    assert learner.fit(30).cancelled is not None
    best = stopping.best
    assert learner.evaluate()["Loss"] > best
    assert "EarlyStopping has restored the weights of the best epoch" in "".join(map(str, warnings))
    assert "learner.remove_callback(EMA)" in "".join(map(str, warnings))
    learner.remove_callback(EMA)
    assert learner.evaluate()["Loss"] == pytest.approx(best)


def test_and_not_where_the_last_averages_are_the_best(warnings):
    learner = toy_learner(EMA(0.5), EarlyStopping(NumberLimit(2), restore_best=True))
    assert learner.fit(5).epochs == 2
    assert learner.evaluate()["Loss"] == pytest.approx(learner.get_callback(EarlyStopping).best)
    assert not warnings
