"""`Loss`: the step's loss, and its mean over the epoch."""

from __future__ import annotations

from typing import Any

import torch
from treadle import Phase, Read

from treadle_metrics.abstract_metric import AbstractMetric
from treadle_metrics.mean import Mean


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
        self._statistic: Any = Mean()
        self._value: float | torch.Tensor | None = None
        self._missed = False

    def reset(self) -> None:
        self._statistic.reset()
        self._value = None

    def step(self, learner: Any, phase: Phase) -> None:
        step = learner.step
        if self._missed and "loss" not in step:  # asking first costs more where there is one
            self._value = None
            return
        try:
            loss = step.loss
        except AttributeError:
            self._missed, self._value = True, None
            return
        value = loss
        if isinstance(loss, torch.Tensor):
            value = loss.item() if loss.is_cpu else loss.detach()
        self._value = value
        self._statistic.update(value)

    def step_value(self) -> float | torch.Tensor | None:
        return self._value

    def epoch_value(self) -> float | torch.Tensor | None:
        value: float | torch.Tensor | None = self._statistic.compute()
        return value

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = self._statistic.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._statistic.load_state_dict(state)
