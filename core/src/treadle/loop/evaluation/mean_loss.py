"""`MeanLoss`: what an evaluation measures where nothing else does."""

from __future__ import annotations

from typing import Any

from treadle.arguments.batch_weight import Rows
from treadle.state.numbers.mean import Mean


class MeanLoss:
    """The mean of the losses of all rows: each batch's loss counts as often as the batch has rows."""

    def __init__(self) -> None:
        self._mean, self._rows = Mean(), Rows()

    def step(self, learner: Any, phase: Any) -> None:
        """Take the loss of a step that has ended."""
        step = learner.step
        loss = step.loss
        self._mean.update(loss.item() if loss.is_cpu else loss.detach(), self._rows(step))

    def added_up(self, learner: Any, phase: Any) -> list[Mean]:
        return [self._mean]

    def values(self) -> dict[str, Any]:
        """The mean, if there was a step."""
        mean = self._mean.compute()
        return {} if mean is None else {"Loss": mean}
