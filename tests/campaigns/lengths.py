"""The runs of the campaign of resumes that go by steps: over data of any length, with validation in the middle."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from setups import ROWS, Setup, batch_list, deep, in_memory, rows, shuffled
from torch.utils.data import DataLoader, IterableDataset
from treadle import (
    Callback,
    CancelEpochException,
    CancelStepException,
    Learner,
    Phase,
    Stream,
    ValidationPhase,
)
from treadle_logging import CSVBackend, LogHyperParams, LogMetrics
from treadle_metrics import Metrics, Recorder, Traces
from treadle_optim import EMA, Accumulate
from treadle_schedule import Exp, LearningRate, ReduceOnPlateau, Scheduler, onecycle
from treadle_stopping import EarlyStopping, Patience


class Endless(IterableDataset[Any]):
    """Rows without an end: each pass draws them anew."""

    def __iter__(self) -> Iterator[Any]:
        xs, ys = rows(5)
        while True:
            i = int(torch.randint(ROWS, ()))
            yield xs[i], ys[i]


class Counter:
    """Counts, and goes on where its state says."""

    count = 0

    def __iter__(self) -> Iterator[Any]:
        while True:
            self.count += 1
            yield torch.full((4, 2), 0.01 * self.count), torch.ones(4, 1)

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


class Stop(Callback):
    """Cancel something in validation, once it has seen some of its steps."""

    def __init__(self, cancel: Exception, step: int) -> None:
        self.cancel, self.step, self.seen = cancel, step, 0

    def on_step_begin(self, phase: ValidationPhase) -> None:
        self.seen += 1
        if self.seen == self.step:
            raise self.cancel

    def state_dict(self) -> dict[str, int]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.seen = state["seen"]


def everything(folder: Path) -> list[Callback]:
    backend = CSVBackend(folder / "log.csv", append=True)
    traces = Traces({"Loss": lambda learner: learner.step.loss})
    watching = [Recorder(), Metrics(), traces, LogMetrics(backend), LogHyperParams(backend)]
    return [*watching, Scheduler({LearningRate: Exp(0.1, 0.9)}), EMA(0.9), Accumulate(2)]


def by_steps(learner: Learner, **length: Any) -> None:
    learner.fit(**length)


def fit(**length: Any) -> Any:
    return functools.partial(by_steps, **length)


def endless() -> Any:
    return DataLoader(Endless(), batch_size=4), batch_list(2)


LENGTHS = [
    Setup("steps", train=fit(steps=8)),
    Setup("steps of whole passes", train=fit(steps=6), during=Phase),
    Setup("steps, validation in the middle", everything, deep, train=fit(steps=8, validate_every=3)),
    Setup("steps, validation after each", everything, deep, train=fit(steps=5, validate_every=1), during=Phase),
    Setup("steps, an update that is not complete", everything, train=fit(steps=7, validate_every=7), during=Phase),
    Setup("epochs, validation in the middle", everything, deep, train=fit(n=3, validate_every=2)),
    Setup("epochs, validation at their ends", everything, train=fit(n=3, validate_every=3)),
    Setup("steps over an endless stream", everything, data=endless, train=fit(steps=7, validate_every=2)),
    Setup("steps over data in memory", data=lambda: (in_memory(), in_memory(2)), train=fit(steps=8, validate_every=2)),
    Setup(
        "steps over a loader with workers",
        lambda folder: [Recorder(), Metrics()],
        data=lambda: (shuffled(num_workers=1), batch_list(2)),
        train=fit(steps=5, validate_every=2),
    ),
    Setup(
        "steps, stopping and reducing by validation",
        lambda folder: [
            Recorder(),
            Metrics(),
            EarlyStopping(Patience(2), patience=3, restore_best=True),
            ReduceOnPlateau(patience=0, factor=0.5),
        ],
        train=fit(steps=40, validate_every=2),
    ),
    Setup(
        "steps, schedules by updates and epochs",
        lambda folder: [
            Scheduler({LearningRate: onecycle(8, 0.1)}),
            Accumulate(2),
        ],
        train=fit(steps=16, validate_every=5),
    ),
    Setup(
        "steps, a step of validation is cancelled",
        lambda folder: [Recorder(), Metrics(), Stop(CancelStepException("No."), 4)],
        train=fit(steps=8, validate_every=3),
    ),
    Setup(
        "steps, an epoch of validation is cancelled",
        lambda folder: [Recorder(), Metrics(), Stop(CancelEpochException("No."), 4)],
        train=fit(steps=8, validate_every=3),
    ),
    Setup(
        "steps over a stream that is cut into epochs",
        everything,
        data=lambda: (Stream(DataLoader(Endless(), batch_size=4), 3), batch_list(2)),
        train=fit(steps=7, validate_every=2),
    ),
    Setup(
        "epochs over a stream that ends in the middle of one",
        lambda folder: [Recorder(), Metrics()],
        deep,
        data=lambda: (Stream(shuffled(), 2), batch_list(2)),
        train=fit(n=4),
    ),
    Setup(
        "epochs over a stream with a state",
        data=lambda: (Stream(Counter(), 2), batch_list(2)),
        train=fit(n=3),
    ),
]
