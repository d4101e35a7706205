"""By what checkpoints are compared: a metric of a phase, and whether low or high is good."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any


@dataclass(frozen=True)
class Score:
    """A measure of how good a checkpoint is.

    Args:
        metric: The name of a metric.
        phase: The label of the phase it is of.
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
