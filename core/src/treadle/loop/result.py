"""`FitResult`: how a fit went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from treadle.errors import CancelFittingException

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class FitResult:
    """How a fit went. A fit that a callback cancelled is no error.

    Args:
        epochs: Training epochs that ran to their end.
        steps: Training steps that did.
        cancelled: None, or the `CancelFittingException` with its message and, as `callback`, the
            callback that raised it.

    Example:
        >>> from treadle import toy_learner
        >>> result = toy_learner(nbatches=4).fit(3)
        >>> result.epochs, result.steps, result.cancelled
        (3, 12, None)
    """

    epochs: int
    steps: int
    cancelled: CancelFittingException | None = None
