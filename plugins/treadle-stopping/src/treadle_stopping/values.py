"""Criteria that look at one loss alone: `InvalidValue` and `Threshold`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from treadle.authoring import real_number

from treadle_stopping.criterion import Criterion


@dataclass(frozen=True)
class InvalidValue(Criterion):
    """Stop once a loss, of training or out of sample, was NaN, Inf or -Inf.

    Example:
        >>> from treadle_stopping import stopping_time
        >>> stopping_time(InvalidValue(), [10.0, 3.0, float("inf"), 4.0])
        3
    """

    def update(self, state: float | None, loss: float) -> float:
        """The first invalid loss if there was one, else the latest loss."""
        return loss if state is None or math.isfinite(state) else state

    update_training = update

    @property
    def compares_training(self) -> bool:
        return False

    def done(self, state: float) -> bool:
        return not math.isfinite(state)

    def reason(self, state: float) -> str:
        return f"a loss was {state}"


@dataclass(frozen=True)
class Threshold(Criterion):
    """Stop when the latest out-of-sample loss is below a value.

    Args:
        value: The value; a loss equal to it goes on. Default: 0.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `value` is not a number, or NaN.

    Example:
        >>> from treadle_stopping import stopping_time
        >>> stopping_time(Threshold(2.5), [12.0, 32.0, 3.0, 2.0, 5.0, 7.0])
        4
    """

    value: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", real_number(self.value, "Threshold(value)", "Threshold(0.1)"))

    def update(self, state: float | None, loss: float) -> float:
        return loss

    def done(self, state: float) -> bool:
        return state < self.value

    def reason(self, state: float) -> str:
        return f"the loss is {state:.6g}"
