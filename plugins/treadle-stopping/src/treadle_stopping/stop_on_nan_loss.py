"""`StopOnNaNLoss`: no update by the gradients of a loss that is not finite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

import torch
from treadle import AbstractTrainingPhase, Callback, Permission, Read
from treadle.errors import ArgumentError

from treadle_stopping.cancels import NonFiniteLoss
from treadle_stopping.host_copy import HostCopy


class StopOnNaNLoss(Callback):
    """Stop the fit when a training loss is NaN, Inf or -Inf, before the weights are changed by it.

    The loss is looked at after the backward pass and before the update, in every training phase. On CUDA
    its copy to the host is queued before the backward pass and is all that is waited for, so the device
    is never left without work. One of the default callbacks.

    A step without such a loss has nothing to look at and passes: a phase of your own that names its losses
    differently, as a GAN's does, is guarded if the names are given here.

    Args:
        losses: The names of the losses in the step's state. Default: "loss" alone.

    Reads:
        `step.loss`, or the losses that were named.

    Raises:
        NonFiniteLoss: when it stops; `fit` returns it as `FitResult.cancelled`.
        ArgumentError: if a name is none.

    Example:
        >>> import torch
        >>> from treadle import toy_learner
        >>> learner = toy_learner(StopOnNaNLoss())
        >>> good, bad = torch.ones(8, 1), torch.full((8, 1), torch.inf)
        >>> result = learner.fit(1, ([(good, good), (bad, good), (good, good)],))
        >>> result.steps, result.cancelled.value, learner.model.weight.item()
        (1, inf, 0.0010000000474974513)

    Source: FluxTraining.jl, `StopOnNaNLoss`.
    """

    def __init__(self, losses: Iterable[str] = ("loss",)) -> None:
        self.losses = (losses,) if isinstance(losses, str) else tuple(losses)
        for name in self.losses:
            if not (isinstance(name, str) and name.isidentifier()):
                raise ArgumentError(
                    f"StopOnNaNLoss needs names of the step's state, got {name!r}: "
                    f'StopOnNaNLoss(["generator_loss", "critic_loss"])'
                )
        self._copies = {name: HostCopy() for name in self.losses}

    @property
    def state_access(self) -> Mapping[str, type[Permission]]:  # type: ignore[override]
        """Each of the losses is read."""
        return {f"step.{name}": Read for name in self.losses}

    def on_backward_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        for name in self.losses:
            try:
                loss = getattr(learner.step, name)
            except AttributeError:
                continue
            if isinstance(loss, torch.Tensor) and not loss.is_cpu:
                self._copies[name].start(loss)

    def on_backward_end(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        for name in self.losses:
            try:
                loss = getattr(learner.step, name)
            except AttributeError:
                continue
            if not isinstance(loss, torch.Tensor):
                value = float(loss)
            else:
                value = loss.item() if loss.is_cpu else self._copies[name].read(loss)
            if not isfinite(value):
                raise NonFiniteLoss(
                    f"The training {name} is {value}. Training stopped before the update, so the weights are "
                    f"as the last finite step left them.",
                    value,
                )
