"""`learner.evaluate` and `learner.predict`: what they give, who takes part, and that they leave no trace."""

import random
from itertools import repeat

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from treadle import (
    AbstractValidationPhase,
    Callback,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    DataError,
    EvaluationPhase,
    Learner,
    Phase,
    PluginError,
    PredictionPhase,
    Read,
    StepEnd,
    TrainingPhase,
    ValidationPhase,
    Write,
    hookimpl,
    throttle,
    toy_learner,
)
from treadle.errors import CancelError


def batch(rows: int, value: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(rows, 1), torch.full((rows, 1), value)


# What they give.


def test_evaluate_gives_the_loss_of_all_rows() -> None:
    learner = toy_learner()  # its weight is 0, and its loss the mean absolute error
    assert learner.evaluate([batch(6, 4.0), batch(2, 2.0)]) == {"Loss": 3.5}


def test_evaluate_runs_over_the_test_data_or_else_over_those_of_validation() -> None:
    data = {"training": [batch(2, 1.0)], "validation": [batch(2, 2.0)]}
    learner = toy_learner(data=data)
    assert learner.evaluate() == {"Loss": 2.0}
    learner.data = {**data, "test": [batch(2, 3.0)]}
    assert learner.evaluate() == {"Loss": 3.0}


def test_without_test_and_validation_data_they_have_to_be_passed() -> None:
    with pytest.raises(DataError, match=r"has neither \(there is: training\).\nFix: pass the data:\n    learner.eva"):
        toy_learner(data=([batch(2, 1.0)],)).evaluate()


def test_a_metric_in_the_place_of_the_data_is_refused_with_the_call_that_is_meant() -> None:
    message = r"takes the data first and then metrics, got mse_loss .*\n.*\n    learner.evaluate\(None, mse_loss\)"
    with pytest.raises(DataError, match=message):
        toy_learner().evaluate(torch.nn.functional.mse_loss)


def test_metrics_are_refused_where_nothing_is_installed_that_measures_them(monkeypatch) -> None:
    monkeypatch.setattr("treadle.plugins.measures.installed", lambda group: ())
    with pytest.raises(PluginError, match="no installed plugin has the entry point `metrics`, which measures them"):
        toy_learner().evaluate(None, torch.nn.functional.mse_loss)


TALLY = """
from treadle import Callback

class Tally(Callback):
    def __init__(self, metrics=()):
        self.metrics, self.steps = metrics, 0

    def measure(self, metrics):
        return Tally(metrics)

    def step(self, learner, phase):
        self.steps += 1

    def values(self):
        return {"Loss": 0.5, **{metric: self.steps for metric in self.metrics}}

class Silent(Callback): ...
"""


@pytest.fixture
def metrics_entry_point(install, monkeypatch):
    """A function that lets a class of `TALLY` have the entry point `metrics`, also where treadle-metrics is there."""
    monkeypatch.setenv("TREADLE_DISABLE_PLUGINS", "treadle-metrics")
    return lambda cls: install(
        "tally", files={"tally.py": TALLY}, entry_points={"treadle.callbacks": {"metrics": f"tally:{cls}"}}
    )


def test_the_callback_that_is_installed_under_that_name_measures_them(metrics_entry_point) -> None:
    metrics_entry_point("Tally")
    assert toy_learner().evaluate(None, "Steps") == {"Loss": 0.5, "Steps": 16.0}


def test_metrics_are_refused_where_that_callback_does_not_measure(metrics_entry_point) -> None:
    metrics_entry_point("Silent")
    with pytest.raises(PluginError, match="the class with the entry point `metrics`, Silent, does not measure them"):
        toy_learner().evaluate(None, "Steps")


def test_a_callback_of_the_learner_that_measures_goes_before_it() -> None:
    class Measuring(Callback):
        def measure(self, metrics):
            return self

        def step(self, learner, phase):
            self.seen = phase

        def values(self):
            return {"Loss": torch.tensor(2.5)}

    assert toy_learner(Measuring()).evaluate() == {"Loss": 2.5}


def test_predict_gives_all_outputs_in_order() -> None:
    learner = toy_learner()
    learner.model.weight.data.fill_(2.0)
    assert learner.predict([torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0]])]).tolist() == [[2.0], [4.0], [6.0]]


@pytest.mark.parametrize(
    "data",
    [
        [(torch.ones(2, 1), "no targets"), (torch.ones(2, 1), None)],
        [[torch.ones(2, 1)]] * 2,
        [{"input": torch.ones(2, 1)}] * 2,
        [((torch.ones(2, 1),), None)] * 2,
        DataLoader(TensorDataset(torch.ones(4, 1)), batch_size=2),
    ],
)
def test_predict_takes_inputs_alone_and_pairs(data) -> None:
    assert toy_learner().predict(data).shape == (4, 1)


def test_a_batch_of_three_is_refused_by_predict() -> None:
    with pytest.raises(
        DataError, match=r"PredictionPhase needs batches that are inputs, or pairs \(xs, ys\), got a tu"
    ):
        toy_learner().predict([(torch.ones(1), torch.ones(1), torch.ones(1))])


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_endless_data_are_used_up_to_a_number_of_steps(method) -> None:
    drawn = []

    def endless():
        for pair in repeat(batch(2, 1.0)):
            drawn.append(pair)
            yield pair

    getattr(toy_learner(), method)(endless(), steps=3)
    assert len(drawn) == 3


@pytest.mark.parametrize("method", ["evaluate", "predict"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r"learner.\w+ got no batch from list"),
        (3, r"learner.\w+ needs an iterable of batches, got 3"),
        (TensorDataset(torch.ones(2, 1)), r"learner.\w+ needs an iterable of batches, got a TensorDataset"),
    ],
)
def test_data_over_which_nothing_can_run_are_refused(method, data, message) -> None:
    with pytest.raises(DataError, match=message):
        getattr(toy_learner(), method)(data)


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_steps_must_be_a_number_of_at_least_one(method) -> None:
    with pytest.raises(ValueError, match="steps must be a whole number of at least 1, got 0"):
        getattr(toy_learner(), method)([batch(1, 1.0)], steps=0)


# No trace.


class Augment(Callback):
    """Changes the inputs in every phase, draws random numbers, and counts, here and in `cbstate`."""

    state_access = {"step.xs": Write, "cbstate.augmented": Write}

    def __init__(self) -> None:
        self.count = 0

    def on_step_begin(self, learner) -> None:
        learner.step.xs = learner.step.xs + 0.01 * torch.randn(()) + 0.01 * random.random()
        self.count += 1
        learner.cbstate.augmented = learner.cbstate.get("augmented", 0) + 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_evaluation_and_prediction_leave_everything_as_it_was() -> None:
    def run(between) -> tuple:
        torch.manual_seed(0)
        random.seed(0)
        model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
        model[2].eval()
        xs = torch.linspace(0, 1, 32).reshape(-1, 1)
        loader = DataLoader(TensorDataset(xs, 2 * xs), 8, shuffle=True, generator=torch.Generator().manual_seed(1))
        learner = Learner(
            model, nn.MSELoss(), data=(loader, loader), callbacks=[Augment()], use_default_callbacks=False
        )
        between(learner)
        for _ in range(2):
            learner.fit(1)
            step, progress = learner.step, repr(learner.progress)
            grads = [p.grad.clone() for p in model.parameters()]
            modes, enabled = [m.training for m in model.modules()], torch.is_grad_enabled()
            between(learner)
            assert learner.step is step
            assert repr(learner.progress) == progress
            assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), grads, strict=True))
            assert ([m.training for m in model.modules()], torch.is_grad_enabled()) == (modes, enabled)
            assert list(learner.data) == ["training", "validation"]
            assert learner.position.scopes == []
        return learner.cbstate.augmented, learner.callbacks[0].count, random.random(), model.state_dict()

    def both(learner) -> None:
        learner.evaluate(learner.data.training)
        learner.predict(learner.data.validation, steps=2)

    *first, weights = run(lambda learner: None)
    *second, others = run(both)
    assert first == second
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_after_an_error_everything_is_as_it_was_as_well() -> None:
    learner = toy_learner(Augment())
    learner.fit(1)
    step, state = learner.step, torch.get_rng_state()
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        learner.evaluate([batch(2, 1.0), (torch.ones(2, 3), torch.ones(2, 1))])
    assert learner.step is step
    assert learner.model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert learner.callbacks[0].count == 32
    assert learner.position.scopes == []


# Who takes part.


class Noting(Callback):
    """Notes the phases in which its handler ran."""

    def __init__(self) -> None:
        self.seen = set()


class Observer(Noting):
    def on_step_end(self, phase) -> None:
        self.seen.add(type(phase))


class EveryPhase(Noting):
    state_access = {"cbstate.seen": Write}

    def on_step_end(self, phase: Phase) -> None:
        self.seen.add(type(phase))


class Named(Noting):
    def on_step_end(self, phase: TrainingPhase | EvaluationPhase) -> None:
        self.seen.add(type(phase))


class OfValidation(Noting):
    state_access = {"step.loss": Write}

    def on_step_end(self, phase: AbstractValidationPhase) -> None:
        self.seen.add(type(phase))


class Timer(Noting):
    @hookimpl(wrapper=True)
    def epoch(self, phase):
        self.seen.add(type(phase))
        return (yield)


class Changing(Noting):
    state_access = {"step.xs": Write}

    def on_step_begin(self, phase) -> None:
        self.seen.add(type(phase))


class AroundForward(Noting):
    @hookimpl(wrapper=True)
    def forward(self, phase):
        self.seen.add(type(phase))
        return (yield)


RUN = {TrainingPhase, ValidationPhase}


@pytest.mark.parametrize(
    ("cls", "phases"),
    [
        (Observer, RUN),
        (EveryPhase, RUN),
        (Named, {TrainingPhase, EvaluationPhase}),
        (OfValidation, {ValidationPhase}),
        (Timer, RUN),
        (Changing, RUN | {EvaluationPhase, PredictionPhase}),
        (AroundForward, RUN | {EvaluationPhase, PredictionPhase}),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_who_observes_takes_no_part_and_who_computes_does(cls, phases, wrapped) -> None:
    callback = cls()
    learner = toy_learner(throttle(callback, StepEnd, freq=1) if wrapped and hasattr(cls, "on_step_end") else callback)
    learner.fit(1)
    learner.evaluate()
    learner.predict(learner.data.validation)
    assert callback.seen == phases


def test_the_plan_shows_who_takes_part() -> None:
    plan = toy_learner(Observer(), Changing()).plan([EvaluationPhase()])
    assert [(phase, hook, [c.name for c in cs]) for phase, hook, cs in plan.rows] == [
        ("EvaluationPhase", "on_step_begin", ["Changing"])
    ]


def test_the_plan_shows_no_loss_in_a_prediction() -> None:
    class Precision(Callback):
        @hookimpl(wrapper=True)
        def forward(self):
            return (yield)

        @hookimpl(wrapper=True)
        def loss(self):
            return (yield)

        @hookimpl(wrapper=True)
        def backward(self):
            return (yield)

    plan = toy_learner(Precision()).plan([EvaluationPhase(), PredictionPhase()])
    assert [(phase, hook) for phase, hook, _ in plan.rows] == [
        ("EvaluationPhase", "forward"),
        ("EvaluationPhase", "loss"),
        ("PredictionPhase", "forward"),
    ]


def test_observed_must_be_true_or_false() -> None:
    class Odd(ValidationPhase):
        observed = None

    with pytest.raises(TypeError, match=r"Odd.observed is None, not True or False.\nFix: write, for a phase that is"):
        toy_learner().fit(1, phases=[Odd()])


# Where they are called.


def test_they_work_before_and_after_a_cancelled_fit_and_keep_its_unfinished_update() -> None:
    class Stop(Callback):
        def accumulate(self, learner, phase: TrainingPhase):
            return learner.progress.accumulated < 3

        def on_step_begin(self, learner, phase: TrainingPhase):
            if learner.progress.steps == 6:
                raise CancelFittingException("Enough.")

    learner = toy_learner(Stop())
    learner.evaluate()
    assert learner.fit(1).cancelled is not None
    gradient, accumulated = learner.model.weight.grad, learner.progress.accumulated
    learner.evaluate()
    learner.predict(learner.data.training)
    assert learner.model.weight.grad is gradient
    assert learner.progress.accumulated == accumulated


def test_a_handler_that_enters_the_loop_can_call_them() -> None:
    class Look(Callback):
        state_access = {"loop": Write, "data": Read}
        seen = ()

        def on_step_end(self, learner, phase: TrainingPhase):
            if learner.progress.step == 3:
                before = repr(learner.progress)
                loss = learner.loop.evaluate(learner.data.validation)["Loss"]
                self.seen = loss, learner.loop.predict(learner.data.validation, steps=1).shape
                assert repr(learner.progress) == before

    look = Look()
    plain, learner = toy_learner(), toy_learner(look)
    plain.fit(2)
    learner.fit(2)
    assert look.seen[1] == (8, 1)
    assert torch.equal(plain.model.weight, learner.model.weight)


def test_through_a_view_without_the_loop_they_are_not_there() -> None:
    class Look(Callback):
        def on_step_end(self, learner):
            learner.evaluate()

    with pytest.raises(Exception, match="Look reads `evaluate`, which is not a state of the learner"):
        toy_learner(Look()).fit(1)


@pytest.mark.parametrize(
    ("cancel", "loss"), [(CancelStepException, 1.0), (CancelEpochException, 1.0), (CancelFittingException, None)]
)
def test_a_cancel_ends_what_it_names(cancel, loss) -> None:
    class Stop(Callback):
        state_access = {"step.xs": Write}

        def on_loss_begin(self, learner):
            if learner.progress.step == 2:
                raise cancel("No more.")

    data = [batch(2, 1.0), batch(2, 5.0)]
    if loss is None:
        with pytest.raises(CancelError, match="CancelFittingException was raised where no fit was under way: No more"):
            toy_learner(Stop()).evaluate(data)
    else:
        assert toy_learner(Stop()).evaluate(data) == {"Loss": loss}


def test_a_tensor_in_the_place_of_the_data_of_a_prediction_is_refused_since_its_rows_are_no_batches():
    message = r"got a tensor of shape \(4, 1\), whose items would be taken for batches.\nFix: if it is one batch, put"
    with pytest.raises(DataError, match=message):
        toy_learner().predict(torch.ones(4, 1))
    assert toy_learner().predict([torch.ones(4, 1)]).shape == (4, 1)


@pytest.mark.parametrize("targets", [torch.ones(4, 1), [0, 1, 2, 3]])
def test_so_is_a_tuple_that_can_be_one_batch_or_several(targets):
    xs = torch.ones(4, 1)
    message = r"can be one batch, a pair \(xs, ys\), or 2 batches.\nFix: pass a list of batches; if it is one"
    with pytest.raises(DataError, match=message):
        toy_learner().predict((xs, targets))
    assert toy_learner().predict([(xs, targets)]).shape == (4, 1)
    assert toy_learner().predict([xs, xs]).shape == toy_learner().predict(((xs, 0), (xs, 0))).shape == (8, 1)


def test_so_are_named_inputs_that_are_one_batch():
    with pytest.raises(DataError, match=r"got a dict, whose keys would be taken for batches\.\nFix: if it is one"):
        toy_learner().predict({"xs": torch.ones(4, 1)})
