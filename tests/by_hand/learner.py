"""The same combinations by callbacks, two of them by third parties that name nobody."""

from __future__ import annotations

from collections.abc import Generator
from itertools import combinations
from typing import Any

import torch
from by_hand.recipe import (
    CLIP_NORM,
    CLIP_VALUE,
    EMA_DECAY,
    LOOKAHEAD_ALPHA,
    LOOKAHEAD_K,
    LR,
    LR_DECAY,
    RHO,
    SIGMA,
    SWA_START,
    UNFREEZE,
    Recipe,
    model_and_data,
    optimizer_of,
)
from torch import nn
from treadle import AbstractTrainingPhase, Callback, Learner, TrainingPhase, ValidationPhase, Write, hookimpl
from treadle_amp import MixedPrecision
from treadle_metrics import Metrics, Recorder
from treadle_optim import (
    EMA,
    SAM,
    SWA,
    Accumulate,
    AveragedWeights,
    CentraliseGradients,
    ClipGradients,
    Lookahead,
    Unfreeze,
)
from treadle_schedule import LearningRate, Scheduler
from treadle_stopping import StopOnNaNLoss


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


class ClampInUpdate(Callback):
    """Clips them right before the parameters are changed."""

    state_access = {"step.grads": Write}

    @hookimpl(wrapper=True)
    def update(self, learner: Any, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
        ClampGradients.on_update_begin(self, learner, phase)  # type: ignore[arg-type]
        return (yield)


class ClampAtBackwardEnd(Callback):
    """Clips the gradients as the backward pass has left them."""

    state_access = {"step.grads": Write}
    on_backward_end = ClampGradients.on_update_begin


CHANGES = {
    "centralise": CentraliseGradients,
    "clip": lambda: ClipGradients(norm=CLIP_NORM),
    "noise": GradientNoise,
    "their clip": ClampGradients,
}


def callbacks_of(recipe: Recipe) -> list[Callback]:
    """A callback for each part."""
    callbacks: list[Callback] = [
        Recorder(),
        Metrics(),
        StopOnNaNLoss(gradients=True),
        *(CHANGES[change]() for change in recipe.changes),
    ]
    if recipe.precision == "bf16":
        callbacks.append(MixedPrecision("bf16"))
    elif recipe.precision == "fp16":
        scaler = torch.amp.GradScaler("cpu", init_scale=recipe.scale, growth_interval=2)
        callbacks.append(MixedPrecision("fp16", scaler=scaler))
    if recipe.accumulate > 1:
        callbacks.append(Accumulate(recipe.accumulate, weight="rows" if recipe.weigh else None))
    if recipe.average == "ema":
        callbacks.append(EMA(EMA_DECAY))
    elif recipe.average == "swa":
        callbacks.append(SWA(SWA_START))
    if recipe.lookahead:
        callbacks.append(Lookahead(LOOKAHEAD_K, LOOKAHEAD_ALPHA))
    if recipe.sam:
        callbacks.append(SAM(RHO))
    if recipe.schedule:
        callbacks.append(Scheduler({LearningRate: lambda t: LR * LR_DECAY ** (t - 1)}))
    if recipe.unfreeze:
        callbacks.append(Unfreeze({UNFREEZE: "0.*"}))
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
    recorded, rates = learner.cbstate.metricsstep, learner.cbstate.get("hyperparams")
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
        "learning rates": [] if rates is None else list(rates["LearningRate"].values),
        "validated": list(recorded[ValidationPhase()]["Loss"].values),
        "updates": learner.progress.updates,
        "next random number": torch.rand(1),
    }
