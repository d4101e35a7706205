"""`StepLosses`: the losses of an epoch's steps, taken off their device when they are asked for."""

from __future__ import annotations

from typing import Any

from treadle import Series


class StepLosses:
    """The losses of the steps of one epoch. Recording one never waits for a device.

    Attributes:
        missing: Whether there was a step without a loss.

    Example:
        >>> losses = StepLosses()
        >>> for loss in (3.0, 1.0):
        ...     losses.record({"loss": loss})
        >>> losses.news(), losses.news(), losses.mean
        ([3.0, 1.0], [], 2.0)
    """

    def __init__(self) -> None:
        self._series = Series()
        self._told = 0
        self.missing = False

    def record(self, step: Any) -> None:
        """Take the loss of a step's state."""
        if "loss" in step:
            self._series.push(len(self._series) + 1, step["loss"])
        else:
            self.missing = True

    def news(self) -> list[float]:
        """The losses that came in since this was last asked, oldest first."""
        news = list(self._series.values[self._told :])
        self._told = len(self._series)
        return news

    @property
    def mean(self) -> float | None:
        """The mean of all losses, or None if there is none."""
        values = self._series.values
        return sum(values) / len(values) if len(values) else None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: tensors and plain values."""
        return {"series": self._series.state_dict(), "told": self._told, "missing": self.missing}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._series.load_state_dict(state["series"])
        self._told, self.missing = state["told"], state["missing"]
