"""`number`: a measured value, off the CPU at once, off an accelerator when somebody reads it."""

from __future__ import annotations

from typing import Any

import torch

from treadle_metrics.errors import MetricError


def number(value: Any, owner: str, kind: str = "metric") -> float | torch.Tensor:
    """A measured value as it is kept: a float, or a detached tensor if it is on an accelerator.

    Args:
        value: A number, or a tensor with one element.
        owner: The name of the metric or the trace, for the message.
        kind: Which of the two it is. Default: "metric".

    Raises:
        MetricError: if it is neither.

    Example:
        >>> number(torch.tensor([0.5]), "Accuracy"), number(1, "Accuracy")
        (0.5, 1.0)
    """
    if isinstance(value, torch.Tensor):
        if value.numel() == 1:
            return value.item() if value.is_cpu else value.detach()
        got = f"a tensor of shape {tuple(value.shape)}"
    else:
        try:
            return float(value)
        except (TypeError, ValueError):
            got = f"a {type(value).__name__}"
    parts = "Metrics(*parts)" if kind == "metric" else 'Traces({"part 1": fn_1, "part 2": fn_2})'
    raise MetricError(
        f"The {kind} {owner!r} gave {got}, and one number is recorded for each step. Reduce it, for example by "
        f"its mean, or record its parts as {kind}s of their own: {parts}"
    )
