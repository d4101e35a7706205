"""By what checkpoints are compared: a recorded metric, its phase, and whether low or high is good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import torch
from treadle import Phase
from treadle.authoring import did_you_mean
from treadle.errors import CheckpointError


@dataclass(frozen=True)
class Score:
    """A measure of how good a checkpoint is.

    Args:
        metric: The name of a metric.
        phase: The name of the type of phase it is of.
        mode: "min" if lower values are better, "max" if higher ones are.
        value: The value, or None if there is none.
    """

    metric: str
    phase: str
    mode: str
    value: float | None = None

    @property
    def rank(self) -> float:
        """A number that is lower the better the checkpoint is; what is not finite is the worst."""
        if self.value is None or not isfinite(self.value):
            return float("inf")
        return -self.value if self.mode == "max" else self.value

    def comparable(self, other: Score) -> bool:
        """Whether the other is a value of the same metric, in the same phase and of the same mode."""
        return (self.metric, self.phase, self.mode) == (other.metric, other.phase, other.mode)

    def as_dict(self) -> dict[str, Any]:
        """The score as JSON can hold it."""
        finite = self.value is not None and isfinite(self.value)
        return {**asdict(self), "value": self.value if finite else None}


def recorded(cbstate: Mapping[str, Any], unit: str, phase: Phase, metric: str) -> float | None:
    """The last value of a metric that the callback `Metrics` recorded; None if nothing was in that phase.

    Args:
        unit: "epoch" or "step".

    Raises:
        CheckpointError: if values were recorded in that phase, and none of that name; for the loss it is None, since
            a phase need not have one: a GAN's has two of other names.
    """
    if f"metrics{unit}" not in cbstate:
        return None
    series = cbstate[f"metrics{unit}"][phase]
    if metric in series and len(series[metric]):
        return float(series[metric].last[1])
    if series and unit == "epoch" and metric != "Loss":
        raise CheckpointError(
            f"There is no metric {metric!r} of the epochs of {phase}. {did_you_mean(metric, series)}\n"
            f"Fix: name one that is recorded:\n    Checkpointer(folder, metric={next(iter(series))!r})"
        )
    return None


def loss_of(step: Mapping[str, Any]) -> float | None:
    """The loss in a step's state, if there is one."""
    loss = step.get("loss")
    if isinstance(loss, torch.Tensor) and loss.numel() == 1:
        return loss.item()
    return float(loss) if isinstance(loss, int | float) else None
