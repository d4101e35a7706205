"""`MeanLoss`: what an evaluation measures where no metrics are installed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class MeanLoss:
    """The mean of the losses of all rows: each batch's loss counts as often as the batch has rows.

    Nothing waits for the device.
    """

    def __init__(self) -> None:
        self.total: Any = 0.0
        self.rows = 0

    def step(self, learner: Any, phase: Any) -> None:
        """Take the loss of a step that has ended."""
        step = learner.step
        rows = rows_of(step.xs)
        loss = step.loss.detach().reshape(())
        wide = torch.float32 if loss.device.type == "mps" else torch.float64  # which MPS does not have
        self.rows += rows
        self.total = self.total + loss.to(wide) * rows

    def values(self) -> dict[str, Any]:
        """The mean, if there was a step."""
        return {"Loss": self.total / self.rows} if self.rows else {}


def rows_of(xs: Any) -> int:
    """The length of the first tensor of a batch's inputs; 1 where there is none."""
    if isinstance(xs, torch.Tensor):
        return len(xs) if xs.ndim else 1
    parts = xs.values() if isinstance(xs, Mapping) else xs if isinstance(xs, (tuple, list)) else ()
    return next((len(part) for part in parts if isinstance(part, torch.Tensor) and part.ndim), 1)
