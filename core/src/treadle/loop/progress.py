"""`Progress`: where a learner stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from treadle.state.random_state import RandomState

if TYPE_CHECKING:
    from treadle.phases import Phase


class Progress:
    """Where a learner stands.

    Attributes:
        phase: The phase that is under way, or None.
        epoch: Training epochs that have begun, in all.
        step: Steps that have begun in the epoch under way.
        epochs: Training epochs that ran to their end, in all.
        steps: Training steps that did.
        clear_gradients: Whether the next step begins by clearing the gradients; True again from then on.
        n: The number of epochs that the fit under way was asked for, or None.
        phases: The phases that each of these epochs has.
        rounds: Epochs of that fit, of any phase, that came to their end.
        at_entry: The random generators' states when the epoch under way was entered, if they are put
            back after it, or None.
        at_start: Their states right before its first batch was asked for, or None.
        skipped: How many of its batches were done before the run was resumed.
        resumption: What a resumed run has yet to take over, or None.
    """

    __slots__ = (
        "at_entry",
        "at_start",
        "clear_gradients",
        "epoch",
        "epochs",
        "n",
        "phase",
        "phases",
        "resumption",
        "rounds",
        "skipped",
        "step",
        "steps",
    )

    def __init__(self) -> None:
        self.phase: Phase | None = None
        self.epoch = self.step = self.epochs = self.steps = self.rounds = self.skipped = 0
        self.clear_gradients = True
        self.n: int | None = None
        self.phases: tuple[Phase, ...] = ()
        self.at_entry: RandomState | None = None
        self.at_start: RandomState | None = None
        self.resumption: Resumption | None = None


def progress_of(learner: Any) -> Progress:
    """Where a learner stands; to be looked at, also by a callback, which has only a view of the learner.

    Nobody but the loop writes it, so it is no state that callbacks declare.

    Example:
        >>> from treadle import CustomCallback, EpochEnd, TrainingPhase, toy_learner
        >>> tell = CustomCallback(lambda learner: print(progress_of(learner).epoch), EpochEnd, TrainingPhase)
        >>> result = toy_learner(tell).fit(2)
        1
        2
    """
    progress: Progress = getattr(learner, "_learner", learner).progress
    return progress


class Resumption(Protocol):
    """What a resumed run has yet to take over. Stands in `learner.progress.resumption`.

    The fit of a resumed run dispatches `FitBegin` and, in the middle of an epoch, that epoch's
    `EpochBegin` again, so that handlers can open what they need; after each of them all state is
    put back. So no handler has to know that the run was resumed.
    """

    def begin(self, n: int, phases: tuple[Phase, ...]) -> None:
        """A fit begins, nothing was dispatched yet; refuse one that does not go on where it ended.

        Args:
            n: The number of epochs it was asked for.
            phases: The phases that each of these has.
        """

    def restore(self) -> None:
        """`FitBegin` was dispatched: put the state back."""

    def rest(self, phase: Phase, data: Any) -> Iterator[Any] | None:
        """`EpochBegin` was dispatched: put the state back, and give the batches that are left.

        None if no epoch was under way.
        """
