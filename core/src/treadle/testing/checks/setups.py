"""Does it work in other setups: without validation, by accumulated gradients, in phases of one's own?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from treadle.callback import Callback
from treadle.errors import ProtectedException, TreadleError
from treadle.events import BackwardEnd, LossBegin, StepEnd
from treadle.learner import Learner
from treadle.loop.loop import run_step
from treadle.loop.update.run_update import run_update
from treadle.operations import Loss
from treadle.ordering.handlers import handlers, handles
from treadle.phases import AbstractTrainingPhase, AbstractValidationPhase, Phase, TrainingPhase, ValidationPhase
from treadle.testing.report import Finding, message_of
from treadle.testing.subject import EPOCHS, Subject, seeded
from treadle.testing.toy import toy_learner

#: The core's phases, and what else is of that sort.
GENERAL: dict[type[Phase], type[Phase]] = {
    TrainingPhase: AbstractTrainingPhase,
    ValidationPhase: AbstractValidationPhase,
}
REFUSAL = 'raise ArgumentValueError("what is missing\\nFix: ...")'


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


def check(subject: Subject) -> list[str]:
    """It works without validation data, with accumulated gradients, in phases of other authors, with several models."""
    remarks = [*exact_phases(subject.callback), *partial_gradients(subject.callback)]
    remarks += worked(subject, "without validation data", without_validation)
    remarks += worked(subject, "with accumulated gradients", accumulated)
    if subject.learner is None:  # else batches and models are the author's
        remarks += worked(subject, "in phases of other authors, subclasses of AbstractTrainingPhase", own_phases)
        remarks += worked(subject, "with several models", several_models)
    return remarks


def without_validation(subject: Subject) -> None:
    """Train without validation data."""
    run = subject.run(make=toy_learner)
    data = run.learner.data
    run.learner.fit(EPOCHS, {name: loader for name, loader in data.items() if name != "validation"})


def accumulated(subject: Subject) -> None:
    """Train with updates of several batches, by a callback of another author."""
    subject.run(Pairs(), make=toy_learner).learner.fit(EPOCHS)


def own_phases(subject: Subject) -> None:
    """Train in phases of other authors."""
    subject.run(make=toy_learner).learner.fit(EPOCHS, phases=[OwnTraining(), OwnValidation()])


def several_models(subject: Subject) -> None:
    """Train two models."""
    subject.run(make=two_models).learner.fit(EPOCHS, phases=[OwnTraining(), OwnValidation()])


def worked(subject: Subject, setup: str, train: Callable[[Subject], None]) -> Iterator[str]:
    """A remark if it refuses a setup, as it may; an error of another kind is a finding but for several models."""
    try:
        with seeded():
            train(subject)
    except Exception as error:
        text = message_of(error)
        refused = isinstance(error, TreadleError) and not isinstance(error, ProtectedException)
        if train is several_models:
            fix = (
                "Fix: `params`, `step.grads` and `model` are mappings by the models' names then; "
                "go through all parameters or gradients alike:\n"
                "    from treadle.authoring import named_tensors\n"
                "    for name, parameter in named_tensors(learner.params): ..."
            )
            yield f"Several models are not supported:\n{text}\n{fix}"
        elif refused:
            yield f"It refuses to work {setup}:\n{text}"
        else:
            fix = (
                ""
                if "Fix:" in text
                else f"\nFix: let it work {setup}, or refuse it before the first step:\n    {REFUSAL}"
            )
            raise Finding(f"It fails {setup}:\n{text}{fix}") from error


def exact_phases(callback: Callback) -> Iterator[str]:
    """A remark if a handler is called in the core's own phases alone."""
    found: dict[str, list[str]] = {}
    for name, handler in handlers(callback).items():
        for kind, general in GENERAL.items():
            if kind in handler.phases and general not in handler.phases:
                found.setdefault(kind.__name__, []).append(name)
    for kind_name, names in found.items():
        yield (
            f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} called in {kind_name} and its subclasses, and "
            f"not in phases of other authors.\nFix: where any phase of that sort would do, annotate:\n"
            f"    phase: Abstract{kind_name}"
        )


def partial_gradients(callback: Callback) -> Iterator[str]:
    """A remark if it uses the gradients where they may be scaled, or of a part of an update."""
    declared = [path for path in callback.state_access if path == "step.grads" or path.startswith("step.grads.")]
    seen = [hook.hook for hook in (BackwardEnd, StepEnd) if handles(callback, hook, TrainingPhase)]
    if declared and seen:
        yield (
            f"{' and '.join(seen)} of a callback that uses `{declared[0]}` {'is' if len(seen) == 1 else 'are'} called "
            f"where the gradients may be scaled, or those of a part of an update; callbacks that accumulate or scale "
            f"refuse it.\n"
            f"Fix: use them where they are whole, before each update:\n    def on_update_begin(self, learner): ..."
        )
