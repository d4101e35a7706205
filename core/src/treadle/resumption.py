"""`Resumption`: how a run that was saved goes on; the loop's side of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from treadle.phases import Phase


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
