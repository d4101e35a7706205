"""`SmoothLoss`: the loss, exponentially smoothed."""

from __future__ import annotations

import torch

from treadle_metrics.loss import Loss
from treadle_metrics.smooth import Smooth


class SmoothLoss(Loss):
    """The loss smoothed over the steps of an epoch, for a curve that can be read.

    A step's value is the smoothed loss up to that step, an epoch's the one at its last step. The
    smoothing starts afresh with each epoch, so that the epochs' values can be compared.

    Args:
        beta: The weight of the past, at least 0 and below 1; about 1 / (1 - beta) steps count.
            Default: 0.98, fifty steps.

    Reads: `step.loss`.

    Raises:
        ArgumentTypeError, ArgumentValueError: for a `beta` that is no such number.

    Example:
        >>> from treadle import TrainingPhase, toy_learner
        >>> from treadle_metrics import Metrics, Recorder
        >>> learner = toy_learner(Recorder(), Metrics(SmoothLoss(beta=0.9)))
        >>> _ = learner.fit(1)
        >>> steps = learner.cbstate.metricsstep[TrainingPhase()]
        >>> steps["SmoothLoss"].values[0] == steps["Loss"].values[0]
        True

    Source: fastai, `SmoothenValue`; FluxTraining.jl, `SmoothLoss`, whose `beta` weighs the past by 0.02.
    """

    def __init__(self, beta: float = 0.98) -> None:
        super().__init__()
        self._statistic = Smooth(beta)

    def step_value(self) -> float | torch.Tensor | None:
        return None if self._value is None else self.epoch_value()
