"""`Agreement`: where several processes decide together what takes effect of what was raised on one of them.

Each comes to the same points in the same order; see `treadle.operations.Agree`. Who raised something in between asks
for it in place of the next point. What comes out is the same for all, and they unwind from there alike: what was agreed
is known by its identity, and is not agreed again further out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from treadle.errors import CancelStepException, CancelUpdateException, EndOfData, FitException

NO_BATCH: Any = object()


class Alone:
    """How a learner goes on where no callback handles `agree`: what is raised takes effect.

    Attributes:
        alone: Whether there is nobody to agree with.
    """

    __slots__ = ()

    alone = True

    def begin(self) -> None:
        """Something begins that can be cancelled: whatever it raises, an object that was agreed before too, is new."""

    def outcome(self, point: str, request: BaseException | None = None) -> BaseException | None:
        """What takes effect at a point, or None."""
        return request

    def reach(self, point: str) -> None:
        """Go on if all processes do; else raise what takes effect."""

    def effect(self, raised: BaseException) -> BaseException:
        """What takes effect where something was raised: what was agreed already does."""
        return raised

    def settle(self, raised: BaseException) -> None:
        """Return if what was raised takes effect, and raise what does instead of it."""

    def settled(self, raised: BaseException) -> None:
        """What was raised has taken effect, and is raised on to whoever waits for it."""

    def together(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches of an epoch, as long as all processes have some; in a phase that does not train, or any has."""
        return batches


class Agreed:
    """What was agreed last in a learner, and unwinds.

    Attributes:
        outcome: An exception, or None.
    """

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome: BaseException | None = None


class Agreement(Alone):
    """How a learner agrees with those of other processes, in a phase.

    Args:
        perform: Performs the operation `agree`.
        agreed: What was agreed last, in all phases of the learner.
    """

    __slots__ = ("_agreed", "_perform")

    alone = False

    def __init__(self, perform: Callable[[str, BaseException | None], Any], agreed: Agreed) -> None:
        self._perform, self._agreed = perform, agreed

    def begin(self) -> None:
        self._agreed.outcome = None

    def outcome(self, point: str, request: BaseException | None = None) -> BaseException | None:
        try:
            outcome = self._perform(point, request) or None
        except BaseException as failure:  # then nobody is left to agree with
            outcome = failure
            if request is not None and not isinstance(request, FitException):
                request.add_note(f"Beside it, the agreement with the other processes failed: {failure!r}.")
                outcome = request
        self._agreed.outcome = outcome
        return outcome

    def reach(self, point: str) -> None:
        outcome = self.outcome(point)
        if outcome is not None:
            raise outcome

    def effect(self, raised: BaseException) -> BaseException:
        return raised if self._agreed.outcome is raised else self.outcome(RAISED, raised) or raised

    def settle(self, raised: BaseException) -> None:
        effect = self.effect(raised)
        if effect is not raised:
            raise effect

    def settled(self, raised: BaseException) -> None:
        self._agreed.outcome = raised

    def together(self, batches: Iterator[Any]) -> Iterator[Any]:
        while True:
            batch = next(batches, NO_BATCH)
            while True:
                outcome = self.outcome("batch", EndOfData() if batch is NO_BATCH else None)
                if isinstance(outcome, EndOfData):
                    return
                if outcome is not None and not isinstance(outcome, WITHIN_STEP):
                    raise outcome
                if outcome is None and batch is not NO_BATCH:  # else another process has yet to come here
                    break
            yield batch


ALONE = Alone()

#: In place of a point, where something was raised before it.
RAISED = "raised"

#: The cancels that end a part of a step that is not under way here.
WITHIN_STEP = (CancelStepException, CancelUpdateException)
