"""`Run`: a training that a callback took part in, with all that is compared afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from treadle.access import Read
from treadle.callback import Callback
from treadle.learner import Learner
from treadle.loop.result import FitResult
from treadle.phases import TrainingPhase


class Trail(Callback):
    """Keeps what the parameters were after each training step."""

    state_access = {"params": Read}

    def __init__(self) -> None:
        self.steps: list[list[torch.Tensor]] = []

    def on_step_end(self, learner: Any, phase: TrainingPhase) -> None:
        self.steps.append([parameter.detach().clone() for parameter in _flat(learner.params)])


def _flat(params: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    for value in params.values():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield value


@dataclass
class Run:
    """A training that a callback took part in.

    Args:
        learner: The learner.
        callback: The callback, or None if it was left out.
        partners: Its partners.
        trail: The parameters after each step.
        result: How the last fit ended; None until there was one.
    """

    learner: Learner
    callback: Callback | None
    partners: list[Callback]
    trail: Trail
    result: FitResult | None = None

    @property
    def members(self) -> list[Callback]:
        """The callback and its partners."""
        return [*([self.callback] if self.callback is not None else []), *self.partners]

    @property
    def ended(self) -> str:
        """Where the training stands and how it ended, in words."""
        progress = self.learner.progress
        cancelled = self.result.cancelled if self.result is not None else None
        why = f", cancelled: {cancelled}" if cancelled is not None else ""
        return f"fit ended after {progress.epochs} epochs and {progress.steps} steps{why}"

    def fit(self, n: int) -> Run:
        """Train for `n` epochs."""
        self.result = self.learner.fit(n)
        return self
