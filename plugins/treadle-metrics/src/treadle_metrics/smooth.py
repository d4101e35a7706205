"""`Smooth`: exponential smoothing without the pull towards zero at its start."""

from __future__ import annotations

from typing import Any

import torch
from treadle.errors import ArgumentTypeError, ArgumentValueError


class Smooth:
    """The exponentially smoothed value: m = beta * m + (1 - beta) * value, divided by 1 - beta^n.

    The division makes up for the start at m = 0, so that the first value comes out as it is. Values
    on an accelerator stay there. Usable as the `statistic` of a `Metric`.

    Args:
        beta: The weight of the past, at least 0 and below 1; about 1 / (1 - beta) values count.
            Default: 0.98, fifty values.

    Raises:
        ArgumentTypeError, ArgumentValueError: for a `beta` that is no such number.

    Example:
        >>> smooth = Smooth(beta=0.9)
        >>> for value in (1.0, 2.0):
        ...     smooth.update(value)
        >>> round(smooth.compute(), 8)
        1.52631579

    Source: fastai, `SmoothenValue`.
    """

    def __init__(self, beta: float = 0.98) -> None:
        if isinstance(beta, bool) or not isinstance(beta, (int, float)):
            raise ArgumentTypeError(f"beta is a number, the weight of the past values, got {beta!r}: beta=0.98")
        if not 0 <= beta < 1:
            raise ArgumentValueError(f"beta is at least 0 and below 1, got {beta}. The past weighs beta: beta=0.98")
        self.beta = beta
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self._count = 0
        self._moment: float | torch.Tensor = 0.0

    def update(self, value: float | torch.Tensor) -> None:
        """Take a value: a number, or a tensor with one element."""
        self._count += 1
        self._moment = self.beta * self._moment + (1 - self.beta) * value

    def compute(self) -> float | torch.Tensor | None:
        """The smoothed value, where the values are; None if there is no value."""
        return self._moment / (1 - self.beta**self._count) if self._count else None

    def state_dict(self) -> dict[str, Any]:
        """The running value and how many values it was made of."""
        return {"count": self._count, "moment": self._moment}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._count, self._moment = state["count"], state["moment"]
