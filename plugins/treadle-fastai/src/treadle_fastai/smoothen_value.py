"""`SmoothenValue`: an exponential mean that is corrected for its beginning."""

from __future__ import annotations

from typing import Any

from treadle.authoring import real_number


class SmoothenValue:
    """The exponential mean of the values so far, divided by the sum of their weights.

    With m = beta * m + (1 - beta) * value, from 0, it is m / (1 - beta^n) after n values.

    Args:
        beta: The weight of the values before, at least 0 and below 1.

    Attributes:
        smooth: The mean; None before the first value.
        n: The number of values.
        mov_avg: The mean m, before the division.

    Example:
        >>> smoother = SmoothenValue(beta=0.9)
        >>> for value in (1, 2, 3, 4):
        ...     smoother.add_value(value)
        >>> round(smoother.smooth, 8)
        2.63128817
    """

    def __init__(self, beta: float) -> None:
        self.beta = real_number(beta, "SmoothenValue(beta)", "SmoothenValue(beta=0.98)", least=0, below=1)
        self.n = 0
        self.mov_avg: Any = 0
        self.smooth: Any = None

    def add_value(self, val: Any) -> None:
        """Take another value into the mean: a number or a tensor."""
        self.n += 1
        self.mov_avg = self.beta * self.mov_avg + (1 - self.beta) * val
        self.smooth = self.mov_avg / (1 - self.beta**self.n)

    def state_dict(self) -> dict[str, Any]:
        """The mean, and of how many values."""
        return {"n": self.n, "mov_avg": self.mov_avg, "smooth": self.smooth}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.n, self.mov_avg, self.smooth = state["n"], state["mov_avg"], state["smooth"]
