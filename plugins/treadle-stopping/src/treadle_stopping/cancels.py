"""What the callbacks here end a fit with: it arrives as `FitResult.cancelled`."""

from __future__ import annotations

from treadle.errors import CancelFittingException

from treadle_stopping.criterion import Criterion


class EarlyStop(CancelFittingException):
    """`EarlyStopping` ended the fit. The message says why.

    Args:
        message: Why.
        criterion: The criterion that was met; of a disjunction, the part or parts that were.

    Attributes:
        criterion: That criterion.
    """

    def __init__(self, message: str, criterion: Criterion) -> None:
        super().__init__(message, criterion)
        self.criterion = criterion

    def __str__(self) -> str:
        return str(self.args[0])


class NonFiniteLoss(CancelFittingException):
    """`StopOnNaNLoss` ended the fit. The message says why.

    Args:
        message: Why.
        value: The loss: NaN, Inf or -Inf.

    Attributes:
        value: That loss.
    """

    def __init__(self, message: str, value: float) -> None:
        super().__init__(message, value)
        self.value = value

    def __str__(self) -> str:
        return str(self.args[0])
