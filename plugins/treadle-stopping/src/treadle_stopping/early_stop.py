"""`EarlyStop`: the end of a fit that `EarlyStopping` asked for."""

from __future__ import annotations

from treadle.errors import CancelFittingException

from treadle_stopping.criterion import Criterion


class EarlyStop(CancelFittingException):
    """`EarlyStopping` ended the fit. The message says why.

    Attributes:
        criterion: The criterion that was met; of a disjunction, the part or parts that were.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_stopping import EarlyStopping, NumberLimit, Patience
        >>> stop = toy_learner(EarlyStopping(NumberLimit(2), Patience(5))).fit(9).cancelled
        >>> isinstance(stop, EarlyStop), stop.criterion
        (True, NumberLimit(n=2))
    """

    final = True

    def __init__(self, message: str, criterion: Criterion) -> None:
        super().__init__(message, criterion)
        self.criterion = criterion

    def __str__(self) -> str:
        return str(self.args[0])
