"""Learners of one process do not know of each other: each run is the one that a fresh process makes."""

import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from treadle import CancelFittingException, Learner, TrainingPhase, ValidationPhase, seed_everything
from treadle.errors import CallbackError
from treadle_device import GarbageCollect
from treadle_metrics import Metrics, accuracy
from treadle_optim import EMA, Accumulate
from treadle_schedule import LearningRate, ReduceOnPlateau, Scheduler, onecycle
from treadle_stopping import EarlyStopping

EPOCHS = 3


def make(seed: int, used: Learner | None = None) -> Learner:
    """A learner with the defaults, a schedule, averages, and a shuffled loader with a generator of its own.

    Args:
        used: A learner whose callbacks it gets. Default: it has callbacks of its own.
    """
    seed_everything(seed)
    xs = torch.randn(70, 4)
    data = TensorDataset(xs, (xs.sum(1) > 0).long())
    generator = torch.Generator().manual_seed(seed)
    change = Scheduler({LearningRate: onecycle(20, 0.1)}) if seed % 2 else ReduceOnPlateau(patience=0, factor=0.5)
    callbacks = [Metrics(accuracy), change, EMA(0.9), Accumulate(2), EarlyStopping(patience=9), GarbageCollect(7)]
    return Learner(
        nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)),
        nn.CrossEntropyLoss(),
        data=(DataLoader(data, batch_size=16, shuffle=True, generator=generator), DataLoader(data, batch_size=32)),
        optimizer=lambda params: torch.optim.SGD(params, lr=0.05, momentum=0.9),
        callbacks=callbacks if used is None else list(used.callbacks),
        use_default_callbacks=used is None,
    )


def content(learner: Learner) -> dict[str, Any]:
    """What a run has come to: the weights, the optimizer's settings, all records and counts."""
    return {
        "weights": {name: value.double().sum().item() for name, value in learner.model.state_dict().items()},
        "settings": [{k: v for k, v in group.items() if k != "params"} for group in learner.optimizer.param_groups],
        "steps": learner.cbstate.metricsstep.rows(),
        "epochs": learner.cbstate.metricsepoch.rows(),
        "rates": list(learner.cbstate.hyperparams["LearningRate"].values),
        "progress": [learner.progress.epochs, learner.progress.steps, learner.progress.updates],
    }


def text(learner: Learner) -> str:
    """Its content, every number with all of its digits."""
    return json.dumps(content(learner), default=repr)


def alone(seed: int) -> str:
    """What a fresh process makes of it."""
    program = f"""
import sys
sys.path.insert(0, {str(__file__.rpartition("/")[0])!r})
from test_several_learners import EPOCHS, make, text
learner = make({seed})
for _ in range(EPOCHS):
    learner.fit(1)
print("RESULT", text(learner), sep="")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    return done.stdout.partition("RESULT")[2].strip()


@pytest.fixture(scope="module")
def in_fresh_processes() -> dict[int, str]:
    return {seed: alone(seed) for seed in (1, 2)}


def test_one_after_the_other_each_is_the_run_of_a_fresh_process(in_fresh_processes) -> None:
    for seed in (1, 2, 1):
        learner = make(seed)
        for _ in range(EPOCHS):
            learner.fit(1)
        assert text(learner) == in_fresh_processes[seed]


def test_with_the_callbacks_of_a_run_that_has_ended_the_next_is_that_of_a_fresh_process(in_fresh_processes) -> None:
    used = make(2)
    used.fit(2)
    again = make(2, used)
    for _ in range(EPOCHS):
        again.fit(1)
    assert text(again) == in_fresh_processes[2]


def test_taking_turns_each_is_the_run_of_a_fresh_process(in_fresh_processes) -> None:
    learners = {seed: make(seed) for seed in (1, 2)}
    for _ in range(EPOCHS):
        for learner in learners.values():
            learner.fit(1)
    assert {seed: text(learner) for seed, learner in learners.items()} == in_fresh_processes


def test_after_a_run_that_ended_by_an_error_or_a_cancel_the_next_is_that_of_a_fresh_process(in_fresh_processes) -> None:
    for error in (RuntimeError("an error"), CancelFittingException("a cancel")):
        broken = make(2)

        def fail(*_: Any, error: Exception = error) -> None:
            raise error

        broken.model[0].register_forward_hook(fail)
        if isinstance(error, RuntimeError):
            with pytest.raises(RuntimeError, match="an error"):
                broken.fit(1)
        else:
            assert broken.fit(1).cancelled is error
    learner = make(1)
    for _ in range(EPOCHS):
        learner.fit(1)
    assert text(learner) == in_fresh_processes[1]


def test_records_of_one_are_not_in_the_other() -> None:
    first, second = make(1), make(2)
    first.fit(1)
    assert (first.cbstate.history[TrainingPhase()].epochs, second.cbstate.history[ValidationPhase()].epochs) == (1, 0)
    assert {id(callback) for callback in first.callbacks}.isdisjoint(map(id, second.callbacks))


def test_a_learner_whose_callback_joined_another_one_is_refused_when_it_goes_on() -> None:
    first = make(1)
    shared = first.get_callback(Metrics)
    Learner(nn.Linear(4, 2), nn.CrossEntropyLoss(), callbacks=[shared])
    with pytest.raises(CallbackError, match=r"Metrics joined another learner after this one"):
        first.fit(1)
