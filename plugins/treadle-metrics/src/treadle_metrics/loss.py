"""`Loss`: the step's loss, and its mean over the epoch; `SmoothLoss`: exponentially smoothed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from treadle import Phase, Read
from treadle.access import Permission
from treadle.authoring import Mean, batch_weight

from treadle_metrics.abstract_metric import AbstractMetric
from treadle_metrics.metric_arguments import weight_access
from treadle_metrics.statistic import Smooth


class Loss(AbstractMetric):
    """The loss of each step, and the mean of these over the epoch, each weighed by the rows of its batch.

    `Metrics` has it always. A phase whose steps have no `loss` has no value either.

    Args:
        weight: How much each batch counts, see `Metric`. Default: its rows.
        state_access: What a function `weight` reads. Default: `step.xs` and `step.ys`.

    Reads: `step.loss`; `step.xs` for the rows, or what `state_access` says.

    Raises:
        ArgumentTypeError, ArgumentValueError: if an argument cannot be used as described; in a step, for a weight
            that cannot.
        MetricError: in a step, if some batches of the epoch have rows and others have none.

    Example:
        >>> from treadle import ValidationPhase, epoch, toy_learner
        >>> from treadle_metrics import Metrics, Recorder
        >>> learner = toy_learner(Recorder(), Metrics())  # its weight is 0
        >>> batches = [(torch.ones(n, 1), torch.full((n, 1), y)) for n, y in ((6, 4.0), (2, 2.0))]
        >>> epoch(learner, ValidationPhase(), batches)
        >>> list(learner.cbstate.metricsstep[ValidationPhase()]["Loss"].values)
        [4.0, 2.0]
        >>> list(learner.cbstate.metricsepoch[ValidationPhase()]["Loss"].values)
        [3.5]
    """

    state_access = {"step.loss": Read}

    def __init__(
        self,
        *,
        weight: str | Callable[[Any], Any] | None = "rows",
        state_access: Mapping[str, type[Permission]] | None = None,
    ) -> None:
        self.weight = weight
        self._weigh = batch_weight(weight, "Loss(weight)", "Metrics(Loss(weight=lambda step: (step.ys >= 0).sum()))")
        self.state_access = {**Loss.state_access, **weight_access(weight, state_access, "Loss")}
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
        if self._weigh is None:
            self._statistic.update(loss)
        else:
            self._statistic.update(loss, self._weigh(step))

    def step_value(self) -> float | torch.Tensor | None:
        return self._value

    def epoch_value(self) -> float | torch.Tensor | None:
        return self._statistic.compute()

    def part(self) -> dict[str, Any]:
        return self._statistic.part()

    def merge(self, parts: Sequence[dict[str, Any]]) -> None:
        self._statistic.merge(parts)

    def state_dict(self) -> dict[str, Any]:
        return self._statistic.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._statistic.load_state_dict(state)


class SmoothLoss(Loss):
    """The loss smoothed over the steps of an epoch, for a curve that can be read.

    A step's value is the smoothed loss up to that step, an epoch's the one at its last step. All steps
    weigh the same. The smoothing starts afresh with each epoch, so that the epochs' values can be compared.

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
        super().__init__(weight=None)
        self._statistic = Smooth(beta)

    def step_value(self) -> float | torch.Tensor | None:
        return None if self._value is None else self.epoch_value()
