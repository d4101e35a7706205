"""The same combinations by callbacks, two of them by third parties that name nobody."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
from by_hand.recipe import (
    CLIP_NORM,
    CLIP_VALUE,
    EMA_DECAY,
    LR,
    LR_DECAY,
    RHO,
    SIGMA,
    Recipe,
    model_and_data,
    optimizer_of,
)
from torch import nn
from treadle import AbstractTrainingPhase, Callback, Learner, TrainingPhase, ValidationPhase, Write
from treadle_amp import MixedPrecision
from treadle_metrics import Metrics, Recorder
from treadle_optim import EMA, SAM, Accumulate, AveragedWeights, CentraliseGradients, ClipGradients
from treadle_schedule import LearningRate, Scheduler


class GradientNoise(Callback):
    """Adds noise to the gradients of each update."""

    state_access = {"step.grads": Write}

    def on_update_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        for gradient in learner.step.grads.values():
            gradient.add_(torch.randn_like(gradient), alpha=SIGMA)


class ClampGradients(Callback):
    """Clips the elements of each update's gradients."""

    state_access = {"step.grads": Write}

    def on_update_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        for gradient in learner.step.grads.values():
            gradient.clamp_(-CLIP_VALUE, CLIP_VALUE)


CHANGES = {
    "centralise": CentraliseGradients,
    "clip": lambda: ClipGradients(norm=CLIP_NORM),
    "noise": GradientNoise,
    "their clip": ClampGradients,
}


def callbacks_of(recipe: Recipe) -> list[Callback]:
    """A callback for each part."""
    callbacks: list[Callback] = [Recorder(), Metrics(), *(CHANGES[change]() for change in recipe.changes)]
    if recipe.precision == "bf16":
        callbacks.append(MixedPrecision("bf16"))
    elif recipe.precision == "fp16":
        scaler = torch.amp.GradScaler("cpu", init_scale=recipe.scale, growth_interval=2)
        callbacks.append(MixedPrecision("fp16", scaler=scaler))
    if recipe.accumulate > 1:
        callbacks.append(Accumulate(recipe.accumulate))
    if recipe.average == "ema":
        callbacks.append(EMA(EMA_DECAY))
    if recipe.sam:
        callbacks.append(SAM(RHO))
    if recipe.schedule:
        callbacks.append(Scheduler({LearningRate: lambda t: LR * LR_DECAY ** (t - 1)}))
    return callbacks


def in_this_order(callbacks: list[Callback]) -> dict[tuple[str, str], str]:
    """The user's `resolve` by which those that change whole gradients do it in the order of the list."""
    changing = [callback.name for callback in callbacks if "step.grads" in callback.state_access]
    return dict.fromkeys(combinations(changing, 2), "first")


def learner_of(recipe: Recipe, callbacks: list[Callback], resolve: Any) -> Learner:
    """A learner that trains by these callbacks."""
    model, training, validation = model_and_data()
    return Learner(
        model,
        nn.functional.mse_loss,
        data=(training, validation),
        optimizer=optimizer_of(model.parameters(), adam=recipe.adam),
        callbacks=callbacks,
        use_default_callbacks=False,
        resolve=resolve,
    )


def content(learner: Learner) -> dict[str, Any]:
    """What a training ended with, as the loop by hand returns it."""
    recorded = learner.cbstate.metricsstep
    average = learner.get_callback(AveragedWeights)
    precision = learner.get_callback(MixedPrecision)
    scaler = None if precision is None else precision.scaler
    return {
        "weights": dict(learner.model.named_parameters()),
        "buffers": dict(learner.model.named_buffers()),
        "optimizer": learner.optimizer.state_dict()["state"],
        "scaler": {} if scaler is None else scaler.state_dict(),
        "average": None if average is None else dict(average.model().named_parameters()),
        "losses": list(recorded[TrainingPhase()]["Loss"].values),
        "validated": list(recorded[ValidationPhase()]["Loss"].values),
        "updates": learner.progress.updates,
        "next random number": torch.rand(1),
    }
