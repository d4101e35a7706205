"""`StepLosses`: the losses of an epoch's steps, copied from their device when they are read."""

from __future__ import annotations

from typing import Any

from treadle import Series


class StepLosses:
    """The losses of the steps of one epoch. Recording one never waits for a device.

    Args:
        feeds: Whether the criteria get them, as training losses. Default: False.

    Attributes:
        missing: Whether there was a step without a loss.

    Example:
        >>> losses = StepLosses()
        >>> for loss in (3.0, 1.0):
        ...     losses.record({"loss": loss})
        >>> losses.unread(), losses.unread(), losses.mean
        ([3.0, 1.0], [], 2.0)
    """

    def __init__(self, *, feeds: bool = False) -> None:
        self.feeds = feeds
        self._series = Series()
        self._read = 0
        self.missing = False

    def record(self, step: Any) -> None:
        """Record the loss of a step's state, if it has one."""
        if "loss" in step:
            self._series.push(len(self._series) + 1, step["loss"])
        else:
            self.missing = True

    def unread(self) -> list[float]:
        """The losses that came in since the last call, oldest first."""
        losses = self._series.values[self._read :]
        self._read = len(self._series)
        return losses

    @property
    def mean(self) -> float | None:
        """The mean of all losses, or None if there is none."""
        values = self._series.values
        return sum(values) / len(values) if len(values) else None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: tensors and plain values."""
        return {"series": self._series.state_dict(), "read": self._read, "missing": self.missing, "feeds": self.feeds}

    @classmethod
    def loaded(cls, state: dict[str, Any]) -> StepLosses:
        """What `state_dict` was called of."""
        losses = cls(feeds=state["feeds"])
        losses._series.load_state_dict(state["series"])
        losses._read, losses.missing = state["read"], state["missing"]
        return losses
