"""`Loss`: the step's loss, and its mean over the epoch; `SmoothLoss`: exponentially smoothed."""

from __future__ import annotations

from typing import Any

import torch
from treadle import Phase, Read

from treadle_metrics.abstract_metric import AbstractMetric
from treadle_metrics.statistic import Mean, Smooth


class Loss(AbstractMetric):
    """The loss of each step, and the plain mean of these over the epoch.

    `Metrics` has it always. A phase whose steps have no `loss` has no value either.

    Reads: `step.loss`.

    Example:
        >>> from treadle import ValidationPhase, epoch, toy_learner
        >>> from treadle_metrics import Metrics, Recorder
        >>> learner = toy_learner(Recorder(), Metrics())  # its weight is 0
        >>> batches = [(torch.ones(8, 1), torch.full((8, 1), y)) for y in (4.0, 2.0)]
        >>> epoch(learner, ValidationPhase(), batches)
        >>> list(learner.cbstate.metricsstep[ValidationPhase()]["Loss"].values)
        [4.0, 2.0]
        >>> list(learner.cbstate.metricsepoch[ValidationPhase()]["Loss"].values)
        [3.0]
    """

    state_access = {"step.loss": Read}

    def __init__(self) -> None:
        self._statistic: Mean | Smooth = Mean()
        self._value: float | torch.Tensor | None = None
        self._missed = False

    def reset(self) -> None:
        self._statistic.reset()
        self._value = None

    def step(self, learner: Any, phase: Phase) -> None:
        self._value, step = None, learner.step
        if self._missed and "loss" not in step:  # asking first costs more where there is one
            return
        try:
            loss = step.loss
        except AttributeError:
            self._missed = True
            return
        if isinstance(loss, torch.Tensor):
            loss = loss.item() if loss.is_cpu else loss.detach()
        self._value = loss
        self._statistic.update(loss)

    def step_value(self) -> float | torch.Tensor | None:
        return self._value

    def epoch_value(self) -> float | torch.Tensor | None:
        return self._statistic.compute()

    def state_dict(self) -> dict[str, Any]:
        return self._statistic.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._statistic.load_state_dict(state)


class SmoothLoss(Loss):
    """The loss smoothed over the steps of an epoch, for a curve that can be read.

    A step's value is the smoothed loss up to that step, an epoch's the one at its last step. The
    smoothing starts afresh with each epoch, so that the epochs' values can be compared.

    Args:
        beta: The weight of the past, at least 0 and below 1; about 1 / (1 - beta) steps count.

    Reads: `step.loss`.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `beta` is not such a number.

    Example:
        >>> from treadle import TrainingPhase, toy_learner
        >>> from treadle_metrics import Metrics, Recorder
        >>> learner = toy_learner(Recorder(), Metrics(SmoothLoss(beta=0.9)))
        >>> _ = learner.fit(1)
        >>> steps = learner.cbstate.metricsstep[TrainingPhase()]
        >>> steps["SmoothLoss"].values[0] == steps["Loss"].values[0]
        True
    """

    def __init__(self, beta: float = 0.98) -> None:
        super().__init__()
        self._statistic = Smooth(beta)

    def step_value(self) -> float | torch.Tensor | None:
        return None if self._value is None else self.epoch_value()
