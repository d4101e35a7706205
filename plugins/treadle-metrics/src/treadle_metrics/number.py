"""`number`: a measured value, off the CPU at once, off an accelerator when somebody reads it."""

from __future__ import annotations

from typing import Any

import torch

from treadle_metrics.errors import MetricError


def number(value: Any, owner: str) -> float | torch.Tensor:
    """A measured value as it is kept: a float, or a detached tensor if it is on an accelerator.

    Args:
        value: A number, or a tensor with one element.
        owner: The metric's name, for the message.

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
    raise MetricError(
        f"The metric {owner!r} gave {got}, and one number is recorded for each step. Reduce it, for example by "
        f"its mean, or record its parts as metrics of their own: Metrics(*parts)"
    )
