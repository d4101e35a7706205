"""Kinds of learner that a callback is tried in: their models, their phases, and what other callbacks do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from treadle.callback import Callback
from treadle.events import LossBegin
from treadle.learner import Learner
from treadle.loop.loop import run_step
from treadle.loop.progress import FitResult
from treadle.loop.update.run_update import run_update
from treadle.operations import Loss
from treadle.phases import AbstractTrainingPhase, AbstractValidationPhase, Phase
from treadle.testing.toy import noisy_learner, toy_learner

MakeLearner = Callable[..., Learner]

#: The number of epochs of a training, each followed by one of validation.
EPOCHS = 2


@dataclass(frozen=True)
class Kind:
    """A kind of learner, and how it is trained.

    Args:
        name: What is special about it, as a report has it.
        setup: The same as a part of a sentence: "It fails {setup}".
        make: Makes the learner.
        others: Callbacks of other authors, by what makes them. Default: none.
        phases: The phases of its fit, by what makes them. Default: those of the core.
        validation: Whether there is validation. Default: yes.
    """

    name: str
    setup: str
    make: MakeLearner = toy_learner
    others: tuple[Callable[[], Callback], ...] = ()
    phases: tuple[Callable[[], Phase], ...] = ()
    validation: bool = True

    def fit(self, learner: Learner) -> FitResult:
        """Train one."""
        if self.phases:
            return learner.fit(EPOCHS, phases=[phase() for phase in self.phases])
        if self.validation:
            return learner.fit(EPOCHS)
        return learner.fit(EPOCHS, {name: data for name, data in learner.data.items() if name != "validation"})


class OwnTraining(AbstractTrainingPhase):
    """A training phase of another author, which applies one or several models one after the other."""

    def step(self, learner: Learner, batch: Any) -> None:
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            state.yhats = chained(learner, state.xs)
            handle(LossBegin)
            state.loss = handle(Loss)
            run_update(learner, self)


class OwnValidation(AbstractValidationPhase):
    """A validation phase of another author."""

    def step(self, learner: Learner, batch: Any) -> None:
        with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
            state.yhats = chained(learner, state.xs)
            handle(LossBegin)
            state.loss = handle(Loss)


class Pairs(Callback):
    """A callback of another author, by which two batches make an update; the last of an epoch may be of one."""

    def accumulate(self, learner: Learner, phase: AbstractTrainingPhase) -> bool:
        accumulated: int = learner.progress.accumulated
        return accumulated == 0


def chained(learner: Learner, xs: Any) -> Any:
    """The output of the models, applied one after the other."""
    for model in learner.models:
        xs = model(xs)
    return xs


def two_models(*callbacks: Callback | str, **kwargs: Any) -> Learner:
    """A toy learner with two models, one applied after the other."""
    toy = toy_learner(**{name: kwargs.pop(name) for name in ("nbatches", "batchsize", "coeff") if name in kwargs})
    models = {"encoder": nn.Linear(1, 2), "decoder": nn.Linear(2, 1)}
    settings = {"data": toy.data, "use_default_callbacks": False, **kwargs}
    settings["optimizer"] = settings.get("optimizer") or dict.fromkeys(models, small_steps)
    return Learner(models, nn.functional.l1_loss, callbacks=callbacks, **settings)


def small_steps(parameters: Any) -> torch.optim.Optimizer:
    """An optimizer for two models."""
    return torch.optim.SGD(parameters, lr=0.001)


OWN = (OwnTraining, OwnValidation)
USUAL = Kind("one model, with validation", "with one model and validation data")
NOISY = Kind("dropout, a batch norm, shuffled data", "with dropout and a batch norm on shuffled data", noisy_learner)
WITHOUT_VALIDATION = Kind("without validation", "without validation data", validation=False)
ACCUMULATION = Kind("accumulation", "with accumulated gradients", others=(Pairs,))
OWN_PHASE = Kind("a phase of its own", "in phases of other authors, subclasses of AbstractTrainingPhase", phases=OWN)
TWO_MODELS = Kind("two models", "with several models", two_models, phases=OWN)
