"""`AverageMetric`: the mean of a function over the batches of a validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from treadle.authoring import function
from treadle.errors import CallbackError

from treadle_fastai.callback import Callback


class AverageMetric(Callback):
    """The mean of a function over an epoch of validation, each batch weighed by its rows.

    It stands in the list of callbacks like all others. Its value is in `metric`, and is the next one of the
    `last_metrics` that other callbacks are passed at the end of an epoch: metrics run before them, whatever their
    `_order`, and several of them by their names.

    Args:
        func: Called with an output and a target; returns a number or a tensor of one.

    Attributes:
        metric: The value of the last epoch, a float; None before the first.
        name: The function's name.

    Raises:
        ArgumentTypeError: if `func` is not a function of two arguments.
        CallbackError: in a batch, if the target has no tensor whose rows could be counted.

    Example:
        >>> import torch
        >>> from treadle import toy_learner
        >>> def error(output, target):
        ...     return (output - target).abs().mean()
        >>> metric = AverageMetric(error)
        >>> result = toy_learner(metric).fit(100)
        >>> metric.metric < 10
        True
    """

    _for_metrics = True

    def __init__(self, func: Callable[[Any, Any], Any]) -> None:
        takes = ["output", "target"]
        self.func = function(func, "AverageMetric(func)", "AverageMetric(accuracy)", takes=takes)
        self.name = getattr(func, "__name__", None) or type(func).__name__
        self.val: Any = 0.0
        self.count = 0
        self.metric: float | None = None

    def on_epoch_begin(self, **kwargs: Any) -> None:
        """Set the sum to 0."""
        self.val, self.count = 0.0, 0

    def on_batch_end(self, last_output: Any, last_target: Any, **kwargs: Any) -> None:
        """Take in a batch."""
        rows = rows_of(last_target)
        if rows is None:
            raise CallbackError(
                f"{self.name} weighs each batch by its rows, and the target has no tensor.\n"
                f"Fix: use Metric of treadle-metrics, which can be told how to weigh:\n"
                f"    Metric({self.name}, weight=None)"
            )
        value = self.func(last_output, last_target)
        self.val = self.val + rows * (value.detach() if isinstance(value, torch.Tensor) else value)
        self.count += rows

    def on_epoch_end(self, last_metrics: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Set the mean, and add it to the metrics of the epoch."""
        if not self.count:
            return None  # there was no validation
        self.metric = float(self.val) / self.count
        return {"last_metrics": [*(last_metrics or []), self.metric]}


def rows_of(target: Any) -> int | None:
    """The length of the first tensor in a target, or None."""
    if isinstance(target, torch.Tensor):
        return len(target) if target.ndim else 1
    if isinstance(target, dict):
        target = list(target.values())
    if isinstance(target, tuple | list):
        return next((rows for rows in map(rows_of, target) if rows is not None), None)
    return None
