"""`Sweep`: the callback that raises the learning rate in a trial run and notes the losses."""

from __future__ import annotations

import math

from treadle import (
    AbstractTrainingPhase,
    Callback,
    CancelFittingException,
    ConflictResolution,
    Learner,
    NotDefined,
    Read,
    RunFirst,
    Write,
    accesses,
)

from treadle_schedule.errors import LRFinderError
from treadle_schedule.hyperparameter import set_hyperparameter
from treadle_schedule.optimizer_values import LearningRate

#: The weight of what came before in the smoothed loss.
BETA = 0.98

#: The sweep stops where the smoothed loss is above its lowest value by more than so many times that value.
RISE = 3


class Sweep(Callback):
    """Raise the learning rate geometrically from step to step, note the losses, and end the fit in time.

    Args:
        start: The learning rate of the first step.
        end: What it would be at the step after the last.
        num_it: The number of steps.
        stop_div: Whether to stop where the smoothed loss is more than four times its lowest value,
            or no number.

    Reads: step.loss
    Writes: optimizer
    """

    run_after = ("to_device", "to_gpu")
    state_access = {"optimizer": Write, "step.loss": Read}

    def __init__(self, start: float, end: float, num_it: int, *, stop_div: bool) -> None:
        self.name = "LRFinder"
        self.start, self.end, self.num_it, self.stop_div = start, end, num_it, stop_div
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self._lr = self._mean = 0.0
        self._lowest = math.inf

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        """Whoever changes the optimizer as well runs first: the last word on the learning rate is had here."""
        return RunFirst(other) if "optimizer" in accesses(other, Write) else NotDefined()

    def on_step_begin(self, learner: Learner, phase: AbstractTrainingPhase) -> None:
        self._lr = self.start * (self.end / self.start) ** (len(self.lrs) / self.num_it)
        set_hyperparameter(learner, LearningRate, self._lr)

    def on_step_end(self, learner: Learner, phase: AbstractTrainingPhase) -> None:
        if "loss" not in learner.step:
            raise LRFinderError(
                f"LRFinder goes by `step.loss`, and the steps of {phase} have none. Let the phase write it, "
                f"state.loss = ..., or find the learning rate in another one: LRFinder().find(learner, phase=...)"
            )
        loss = learner.step.loss.item()  # the number is needed here and now, to know when to stop
        self.lrs.append(self._lr)
        self.losses.append(loss)
        self._mean = BETA * self._mean + (1 - BETA) * loss
        smoothed = self._mean / (1 - BETA ** len(self.losses))
        self.smoothed.append(smoothed)
        self._lowest = min(self._lowest, smoothed)
        if self.stop_div and math.isnan(smoothed):
            raise CancelFittingException("the loss is no number")
        if self.stop_div and smoothed > self._lowest + RISE * abs(self._lowest):  # also right below zero
            raise CancelFittingException("the loss diverged")
        if len(self.lrs) == self.num_it:
            raise CancelFittingException("all steps were made")
