"""What runs after a fit that was stopped early, and is no part of it."""

import pytest
import torch
from loguru import logger
from treadle import Callback, Read, UpdateEnd, ValidationPhase, Write, epoch, throttle, toy_learner
from treadle_checkpoint import Checkpointer, resume
from treadle_optim import EMA, SWA, OptimizerModes
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


def diverging(*callbacks, **options):
    """A learner whose weights become worse with each epoch."""
    optimizer = options.pop("optimizer", torch.optim.SGD)
    learner = toy_learner(
        *callbacks, optimizer=lambda params: optimizer(params, lr=0.001, maximize=True), nbatches=4, **options
    )
    torch.nn.init.constant_(learner.model.weight, 1.0)
    return learner


AVERAGES = {
    "EMA": lambda: EMA(0.5),
    "SWA": lambda: SWA(1),
    "SWA that begins after the best": lambda: SWA(3),
    "a throttled EMA": lambda: throttle(EMA(0.5), UpdateEnd, freq=2),
}


@pytest.mark.parametrize("keep_state", [False, True])
@pytest.mark.parametrize("name", AVERAGES)
def test_the_averages_of_the_best_epoch_are_restored_with_its_weights_and_evaluated(warnings, name, keep_state):
    stopping = EarlyStopping(patience=4, restore_best=True, keep_state=keep_state)
    learner = diverging(AVERAGES[name](), stopping)
    for n in (3, 30):
        result = learner.fit(n)
        assert learner.evaluate()["Loss"] == stopping.best
        plain = toy_learner(nbatches=4)
        plain.model.load_state_dict(learner.model.state_dict())
        assert plain.evaluate()["Loss"] == stopping.best
    assert result.cancelled is not None
    assert not warnings


@pytest.mark.parametrize("name", ["EMA", "SWA"])
def test_so_they_are_when_a_stopped_run_is_resumed(name, tmp_path):
    def make():
        return diverging(AVERAGES[name](), EarlyStopping(patience=2, restore_best=True), Checkpointer(tmp_path))

    first, again = make(), make()
    first.fit(30)
    resume(again, tmp_path)
    assert again.fit(30).steps == 0
    assert again.evaluate()["Loss"] == first.evaluate()["Loss"] == again.get_callback(EarlyStopping).best


def test_without_validation_the_weights_of_the_best_epoch_are_what_is_evaluated():
    learner = diverging(EMA(0.5), EarlyStopping(patience=2, restore_best=True))
    learner.fit(9, (learner.data.training,))
    plain = toy_learner(nbatches=4)
    plain.model.load_state_dict(learner.model.state_dict())
    assert learner.evaluate(learner.data.training) == plain.evaluate(plain.data.training)


class Doubled(torch.optim.SGD):
    """Validates with twice the weights that it trains."""

    def eval(self):
        self.scale(2.0)

    def train(self):
        self.scale(0.5)

    @torch.no_grad()
    def scale(self, factor):
        for parameter in self.param_groups[0]["params"]:
            parameter.mul_(factor)


def test_where_a_callback_makes_the_weights_of_validation_anew_that_is_warned_about(warnings):
    learner = diverging(OptimizerModes(), EarlyStopping(patience=2, restore_best=True), optimizer=Doubled)
    assert learner.fit(30).cancelled is not None
    assert "EarlyStopping has restored the weights of the best epoch, and" in "".join(map(str, warnings))
    assert "learner.remove_callback(OptimizerModes)" in "".join(map(str, warnings))
    best = learner.get_callback(EarlyStopping).best
    assert learner.evaluate()["Loss"] != best
    learner.remove_callback(OptimizerModes)
    assert learner.evaluate()["Loss"] == best
