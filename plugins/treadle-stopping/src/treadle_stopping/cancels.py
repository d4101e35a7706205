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

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_stopping import EarlyStopping, NumberLimit, Patience
        >>> stop = toy_learner(EarlyStopping(NumberLimit(2), Patience(5))).fit(9).cancelled
        >>> isinstance(stop, EarlyStop), stop.criterion
        (True, NumberLimit(n=2))
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

    Example:
        >>> import torch
        >>> from treadle import toy_learner
        >>> from treadle_stopping import StopOnNaNLoss
        >>> batch = (torch.ones(8, 1), torch.full((8, 1), torch.nan))
        >>> stop = toy_learner(StopOnNaNLoss()).fit(1, ([batch],)).cancelled
        >>> isinstance(stop, NonFiniteLoss), stop.value
        (True, nan)
    """

    def __init__(self, message: str, value: float) -> None:
        super().__init__(message, value)
        self.value = value

    def __str__(self) -> str:
        return str(self.args[0])
