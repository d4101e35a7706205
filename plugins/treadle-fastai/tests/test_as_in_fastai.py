"""Drawn callbacks in a `Learner` and in the loop that fastai v1 runs, which is written down here, do the same."""

import copy
import random

import pytest
import torch
from torch import nn
from treadle import Callback as NativeCallback
from treadle import Read, TrainingPhase, ValidationPhase, Write, toy_learner
from treadle.errors import CallbackError
from treadle_checkpoint import Checkpointer, checkpoints, resume
from treadle_fastai import Callback, SmoothenValue
from treadle_optim import ClipGradients

EPOCHS, BATCHES = 3, 4
FLAGS = ("skip_bwd", "skip_step", "skip_zero", "stop_epoch")

# What each handler may return: values that make use of what it is passed.

RETURNS = {
    "train_begin": [{}, {"skip_validate": True}, {"skip_validate": False}],
    "epoch_begin": [{}],
    "batch_begin": [
        lambda state: {"last_input": state["last_input"] / 2},
        lambda state: {"last_target": state["last_target"] + 1},
        lambda state: (state["last_input"] * 2, state["last_target"] * 2),
    ],
    "loss_begin": [lambda state: {"last_output": state["last_output"] * 2}, lambda state: state["last_output"] - 1],
    "backward_begin": [
        lambda state: {"last_loss": state["last_loss"] * 2},
        lambda state: state["last_loss"] + state["smooth_loss"],
        {"skip_bwd": True},
    ],
    "backward_end": [True, False, {"skip_step": True}, {"skip_step": True, "skip_zero": True}, {"skip_zero": True}],
    "step_end": [True, False, {"skip_zero": True}],
    "batch_end": [True, False, {"stop_epoch": True}, {"stop_training": True}, {"stop_training": False}],
    "epoch_end": [True, False, {"stop_training": True}, lambda state: {"last_metrics": [*state["last_metrics"], 1.0]}],
    "train_end": [{}],
}
OLDER = {
    "batch_begin": ("last_input", "last_target"),
    "loss_begin": ("last_output",),
    "backward_begin": ("last_loss",),
    "backward_end": ("skip_step",),
    "step_end": ("skip_zero",),
    "batch_end": ("stop_epoch",),
    "epoch_end": ("stop_training",),
}
WITH_LOSS = ("backward_begin", "backward_end", "step_end", "batch_end")


class Drawn:
    """A callback whose handlers return what is drawn for a place of the training, and note what they were passed.

    It is one of fastai's in the loop below, and in a learner what `as_callback` makes of it.
    """

    def __init__(self, seed, name, rate=0.15):
        self.seed, self.name, self.rate, self.seen = seed, name, rate, []
        self.handlers = random.Random(f"{seed} {name}").sample(sorted(RETURNS), 5)

    def call(self, handler, state):
        place = [state[key] for key in ("n_epochs", "epoch", "iteration", "num_batch", "train")]
        loss = state["last_loss"] if handler in WITH_LOSS else None  # else it is that of the batch before, or None
        self.seen.append([handler, *place, *map(noted, (state["smooth_loss"], loss, state["last_metrics"]))])
        draw = random.Random(f"{self.seed} {self.name} {handler} {place}")
        returned = draw.choice(RETURNS[handler]) if draw.random() < self.rate else None
        return returned(state) if callable(returned) else returned


def noted(value):
    """A value as a log holds it."""
    if isinstance(value, list):
        return [noted(part) for part in value]
    return value.item() if isinstance(value, torch.Tensor) else value


def assert_equal(first, second):
    """Two logs are equal, but for the order in which losses were summed up."""
    for callback, other in zip(first, second, strict=True):
        assert [entry[:-1] for entry in callback.seen] == [entry[:-1] for entry in other.seen], callback.name
        for (*_, metrics), (*_, others) in zip(callback.seen, other.seen, strict=True):
            assert metrics == others or metrics == pytest.approx(others, rel=1e-5)


def as_callback(drawn):
    """The same, as a callback of a learner."""

    def method(handler):
        def handle(self, **kwargs):
            return drawn.call(handler, kwargs)

        return handle

    class InLearner(Callback):
        skips_validation = "train_begin" in drawn.handlers

        def state_dict(self):
            return {"seen": drawn.seen}

        def load_state_dict(self, state):
            drawn.seen = copy.deepcopy(state["seen"])

    cls = type(drawn.name, (InLearner,), {f"on_{handler}": method(handler) for handler in drawn.handlers})
    return cls()


class RefusedError(Exception):
    """What the loop below does is refused in a learner."""


class FastaiLoop:
    """The loop of fastai v1.

    It differs in one thing, that the page of the docs names: what a callback asks for at an event, another cannot take
    back there.
    """

    def __init__(self, callbacks, clip):
        self.callbacks, self.clip = sorted(callbacks, key=lambda callback: callback.name), clip
        self.state = dict.fromkeys(("last_input", "last_target", "last_output", "last_loss", "train"))
        self.state |= {"n_epochs": EPOCHS, "epoch": 0, "iteration": 0, "num_batch": 0}
        self.state |= {"smooth_loss": None, "last_metrics": None, "skip_validate": False, "stop_training": False}
        self.weights = []

    def call(self, handler):
        for callback in self.callbacks:
            if handler in callback.handlers:
                returned = callback.call(handler, self.state)
                if returned is not None and not isinstance(returned, dict):
                    keys = OLDER[handler]
                    values = returned if len(keys) == 2 else [returned]
                    returned = {k: v for k, v in zip(keys, values, strict=True) if v is not False}
                self.state.update(returned or {})

    def fit(self, model, lossfn, optimizer, training, validation):
        smoother, state = SmoothenValue(0.98), self.state
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.call("train_begin")
        for _ in range(EPOCHS):
            state |= {"num_batch": 0, "stop_training": False}
            self.call("epoch_begin")
            for xs, ys in training:
                state |= {"last_input": xs, "last_target": ys, "train": True, **dict.fromkeys(FLAGS, False)}
                self.call("batch_begin")
                state["last_output"] = model(state["last_input"])
                self.call("loss_begin")
                loss = lossfn(state["last_output"], state["last_target"])
                smoother.add_value(loss.detach())
                state |= {"last_loss": loss, "smooth_loss": smoother.smooth}
                self.call("backward_begin")
                if not state["skip_bwd"]:
                    state["last_loss"].backward()
                state["last_loss"] = state["last_loss"].detach()
                if self.clip:
                    nn.utils.clip_grad_norm_(model.parameters(), self.clip)
                self.call("backward_end")
                if not state["skip_step"]:
                    optimizer.step()
                self.call("step_end")
                if not state["skip_zero"]:
                    optimizer.zero_grad(set_to_none=False)
                elif state["skip_step"] and self.clip:
                    raise RefusedError
                self.weights.append(model.weight.item())
                self.call("batch_end")
                state["iteration"] += 1
                state["num_batch"] += 1
                if state["stop_epoch"]:
                    break
            total, rows = 0.0, 0
            for xs, ys in [] if state["skip_validate"] else validation:
                state |= {"last_input": xs, "last_target": ys, "train": False, **dict.fromkeys(FLAGS, False)}
                self.call("batch_begin")
                with torch.no_grad():
                    state["last_output"] = model(state["last_input"])
                    self.call("loss_begin")
                    state["last_loss"] = lossfn(state["last_output"], state["last_target"])
                total, rows = total + len(ys) * float(state["last_loss"]), rows + len(ys)
                self.call("batch_end")
                if state["stop_epoch"]:
                    break
            state["last_metrics"] = [total / rows if rows else None]
            self.call("epoch_end")
            state["epoch"] += 1
            if state["stop_training"]:
                break
        self.call("train_end")


def momentum(parameters):
    return torch.optim.SGD(parameters, lr=1e-5, momentum=0.5)


class Weights(NativeCallback):
    """Note the weight at the end of each step."""

    state_access = {"model": Read}

    def __init__(self):
        self.weights = []

    def on_step_end(self, learner, phase: TrainingPhase):
        self.weights.append(learner.model.weight.item())

    def state_dict(self):
        return {"weights": self.weights}

    def load_state_dict(self, state):
        self.weights = list(state["weights"])


class Inside(NativeCallback):
    """Evaluate, or validate, in the middle of training."""

    state_access = {"loop": Write, "data": Read}

    def __init__(self, evaluates):
        self.evaluates = evaluates

    def inside(self, learner):
        if self.evaluates:
            learner.loop.evaluate(learner.data.validation)
        else:
            learner.loop.epoch(ValidationPhase())

    def on_backward_begin(self, learner, phase: TrainingPhase):
        self.inside(learner)

    def on_step_end(self, learner, phase: TrainingPhase):
        self.inside(learner)


def drawn_by(seed):
    names = random.Random(seed).sample("ABC", random.Random(seed).randint(1, 3))
    return [Drawn(seed, name) for name in names]


def learner_of(drawn, clip, *others):
    natives = [ClipGradients(norm=clip)] if clip else []
    return toy_learner(*map(as_callback, drawn), *natives, *others, nbatches=BATCHES, optimizer=momentum)


def compare(seed, folder=None, during=TrainingPhase):
    """Run what is drawn in both; with a folder, also resumed after each step. Returns whether it was refused."""
    clip = random.Random(f"clip {seed}").choice([0.0, 0.0, 50.0])
    expected, drawn, weights = drawn_by(seed), drawn_by(seed), Weights()
    loop, toy = FastaiLoop(expected, clip), toy_learner(nbatches=BATCHES, optimizer=momentum)
    keep = [Checkpointer(folder / "run", every_steps=1, during=during)] if folder else []
    learner = learner_of(drawn, clip, weights, *keep)
    try:
        loop.fit(toy.model, toy.lossfn, toy.optimizer, toy.data.training, toy.data.validation)
    except RefusedError:
        with pytest.raises(CallbackError, match=r"by `skip_step` and `skip_zero`, and ClipGradients got"):
            learner.fit(EPOCHS)
        return True
    result = learner.fit(EPOCHS)
    assert weights.weights == loop.weights
    assert_equal(drawn, expected)
    saved = checkpoints(folder / "run") if folder else []
    for i, checkpoint in enumerate(saved[:-1] if result.cancelled else saved):  # after the last one nothing stops it
        again, resumed_weights = drawn_by(seed), Weights()
        others = [resumed_weights, Checkpointer(folder / f"again{i}", every_steps=1, during=during)]
        resumed = learner_of(again, clip, *others)
        resume(resumed, checkpoint)
        resumed.fit(EPOCHS)
        assert resumed_weights.weights == loop.weights
        assert_equal(again, expected)
    return False


@pytest.mark.parametrize("seeds", [range(start, start + 20) for start in (0, 20)], ids=str)
def test_drawn_callbacks_do_what_they_do_in_fastai(seeds) -> None:
    for seed in seeds:
        compare(seed)


@pytest.mark.parametrize("seed", [1, 3, 8])
def test_resumed_after_any_step_as_well(seed, tmp_path) -> None:
    compare(seed, tmp_path, during=random.Random(seed).choice([TrainingPhase, ValidationPhase]))


@pytest.mark.parametrize("evaluates", [True, False])
def test_what_runs_inside_of_training_changes_nothing_of_that(evaluates) -> None:
    for seed in range(4):
        weights = []
        for others in ([], [Inside(evaluates)]):
            drawn = drawn_by(seed)
            for callback in drawn:  # an epoch of validation is a part of the run, and may ask for an end
                callback.handlers = [name for name in callback.handlers if evaluates or name != "batch_end"]
            weights.append(Weights())
            learner_of(drawn, 0.0, weights[-1], *others).fit(EPOCHS)
        assert weights[0].weights == weights[1].weights
