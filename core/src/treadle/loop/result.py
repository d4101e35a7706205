"""`FitResult`: how a fit went."""

from __future__ import annotations

from dataclasses import dataclass

from treadle.errors import CancelFittingException


@dataclass(frozen=True)
class FitResult:
    """How a fit went. A fit that a callback cancelled is not an error.

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
