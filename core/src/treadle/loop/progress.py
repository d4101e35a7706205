"""`Progress` and `FitResult`: how far a learner has come, and how a fit went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from treadle.errors import CancelFittingException

if TYPE_CHECKING:
    from treadle.phases import Phase


class Progress:
    """How far a learner has come. Only the loop writes it; every callback may read it.

    What ends is counted before its end event is dispatched. All counts are 0 before the first.

    Attributes:
        phase: The phase that is under way, or None.
        epoch: Number of the training epoch under way or, after it, of the last one.
        step: Number of the step under way in its epoch.
        epochs: Training epochs that are done, in all.
        steps: Training steps that are done, in all.
        updates: Updates of the parameters that are done, in all.
        accumulated: Batches in the gradients of the update under way; 0 after it, or when they are dropped.

    Example:
        >>> from treadle import CustomCallback, EpochEnd, TrainingPhase, toy_learner
        >>> show = CustomCallback(lambda learner: print(learner.progress), EpochEnd, TrainingPhase)
        >>> result = toy_learner(show, nbatches=4).fit(2)
        Progress(phase=TrainingPhase(), epoch=1, step=4, epochs=1, steps=4, updates=4, accumulated=0)
        Progress(phase=TrainingPhase(), epoch=2, step=4, epochs=2, steps=8, updates=8, accumulated=0)
    """

    __slots__ = ("accumulated", "epoch", "epochs", "phase", "step", "steps", "updates")

    def __init__(self) -> None:
        self.phase: Phase | None = None
        self.epoch = self.step = self.epochs = self.steps = self.updates = self.accumulated = 0

    def __repr__(self) -> str:
        names = ("phase", "epoch", "step", "epochs", "steps", "updates", "accumulated")
        return f"Progress({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


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
