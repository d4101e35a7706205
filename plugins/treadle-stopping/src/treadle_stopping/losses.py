"""`StepLosses`: the losses of an epoch's steps, copied from their device when they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from treadle import Series
from treadle.authoring import Mean


class StepLosses:
    """The losses of the steps of one epoch. Recording one never waits for a device.

    Args:
        feeds: Whether the criteria get them, as training losses. Default: False.
        recorded: How many values of a monitored metric there were when the epoch began. Default: 0.
        weigh: How much each counts in the mean, see `treadle.authoring.batch_weight`. Default: all the same.

    Attributes:
        missing: Whether there was a step without a loss.

    Example:
        >>> losses = StepLosses(feeds=True)
        >>> for loss in (3.0, 1.0):
        ...     losses.record({"loss": loss})
        >>> losses.unread(), losses.unread(), losses.mean
        ([3.0, 1.0], [], 2.0)
    """

    def __init__(self, *, feeds: bool = False, recorded: int = 0, weigh: Callable[[Any], Any] | None = None) -> None:
        self.feeds, self.recorded = feeds, recorded
        self._weigh = weigh
        self._mean = Mean()
        self._series = Series()  # those that are fed
        self._read = 0
        self.missing = False

    def record(self, step: Any) -> None:
        """Record the loss of a step's state, if it has one."""
        if "loss" not in step:
            self.missing = True
            return
        loss = step["loss"]
        if isinstance(loss, torch.Tensor):
            loss = loss.item() if loss.is_cpu else loss.detach()
        if self.feeds:
            self._series.push(len(self._series) + 1, loss)
        if self._weigh is None:
            self._mean.update(loss)
        else:
            self._mean.update(loss, self._weigh(step))

    def unread(self) -> list[float]:
        """The losses that came in since the last call, oldest first."""
        losses = self._series.values[self._read :]
        self._read = len(self._series)
        return losses

    @property
    def mean(self) -> float | None:
        """The mean of all losses, by their weights, or None if there is none."""
        mean = self._mean.compute()
        return None if mean is None else float(mean)

    def part(self) -> dict[str, Any]:
        """What other processes need of it."""
        return {"mean": self._mean.part(), "fed": list(self._series.values), "missing": self.missing}

    def merge(self, parts: Sequence[dict[str, Any]]) -> None:
        """Become the losses of the rows of all processes: of a step that all of them had, the mean."""
        self._mean.merge([part["mean"] for part in parts])
        self.missing = any(part["missing"] for part in parts)
        series = Series()
        for i in range(max(len(part["fed"]) for part in parts)):
            losses = [part["fed"][i] for part in parts if i < len(part["fed"])]
            series.push(i + 1, sum(losses) / len(losses))
        self._series = series

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: tensors and plain values."""
        return {
            "series": self._series.state_dict(),
            "mean": self._mean.state_dict(),
            "read": self._read,
            "missing": self.missing,
            "feeds": self.feeds,
            "recorded": self.recorded,
        }

    @classmethod
    def loaded(cls, state: dict[str, Any], weigh: Callable[[Any], Any] | None = None) -> StepLosses:
        """What `state_dict` was called of."""
        losses = cls(feeds=state["feeds"], recorded=state["recorded"], weigh=weigh)
        losses._series.load_state_dict(state["series"])
        losses._mean.load_state_dict(state["mean"])
        losses._read, losses.missing = state["read"], state["missing"]
        return losses
