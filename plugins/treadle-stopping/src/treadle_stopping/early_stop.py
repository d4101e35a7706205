"""`EarlyStop`: the end of a fit that `EarlyStopping` asked for."""

from __future__ import annotations

from typing import Any

from treadle.authoring import unwrap
from treadle.errors import CancelFittingException, MismatchError

from treadle_stopping.criterion import Criterion, Disjunction
from treadle_stopping.stopper import EarlyStopper


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

    def state_dict(self) -> dict[str, Any]:
        """The message, and which of the callback's criteria were met: these have clocks, which no checkpoint holds."""
        known = self._known()
        if known is None:
            return super().state_dict()
        return {"message": self.args[0], "met": [known.index(part) for part in parts(self.criterion)]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        known = self._known()
        if known is None or "met" not in state:
            return super().load_state_dict(state)
        if not all(i < len(known) for i in state["met"]):
            raise MismatchError(
                f"The saved run was stopped by criterion {max(state['met']) + 1} of EarlyStopping, which has "
                f"{len(known)} here.\nFix: resume with the same types of criteria, in the same order."
            )
        self.criterion = Disjunction(*(known[i] for i in state["met"]))
        self.args = state["message"], self.criterion
        return None

    def _known(self) -> tuple[Criterion, ...] | None:
        """The criteria of the callback that raised it; None if that is not an `EarlyStopping`."""
        stopper = None if self.callback is None else getattr(unwrap(self.callback), "stopper", None)
        return parts(stopper.criterion) if isinstance(stopper, EarlyStopper) else None


def parts(criterion: Criterion) -> tuple[Criterion, ...]:
    """The criteria of which a criterion consists."""
    return criterion.criteria if isinstance(criterion, Disjunction) else (criterion,)
