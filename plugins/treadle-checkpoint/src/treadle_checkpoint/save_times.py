"""`SaveTimes`: when a `Checkpointer` saves."""

from __future__ import annotations

from collections.abc import Callable

from treadle import AbstractTrainingPhase, Phase
from treadle.authoring import function, real_number, subclass_of, whole_number


class SaveTimes:
    """When to save: after each so many epochs, steps or minutes, and where somebody asked for it.

    Args:
        every_epochs, every_steps, every_minutes, phase, during, clock: See `Checkpointer`.

    Attributes:
        by_default: Whether nothing says when to save.
        requested: Whether to save when the step under way, or the epoch, has ended.
        requested_in_epoch: Whether to save when the epoch under way has ended.
    """

    def __init__(
        self,
        every_epochs: int | None,
        every_steps: int | None,
        every_minutes: float | None,
        phase: type[Phase] | None,
        during: type[Phase],
        clock: Callable[[], float],
    ) -> None:
        for name, count in (("every_epochs", every_epochs), ("every_steps", every_steps)):
            if count is not None:
                whole_number(count, name, f"Checkpointer(folder, {name}=3)", least=1)
        if every_minutes is not None:
            real_number(every_minutes, "every_minutes", "Checkpointer(folder, every_minutes=10)", above=0)
        self._phase = AbstractTrainingPhase if phase is None else phase
        for name, kind in (("phase", self._phase), ("during", during)):
            subclass_of(kind, f"Checkpointer({name})", Phase, f"Checkpointer(folder, {name}=ValidationPhase)")
        self._clock = function(clock, "Checkpointer(clock)", "Checkpointer(folder, clock=time.monotonic)", takes=())
        self._steps, self._minutes, self._during = every_steps, every_minutes, during
        none = every_epochs is every_steps is every_minutes is None
        self._epochs, self.by_default = 1 if none else every_epochs, none and phase is None
        self.requested = self.requested_in_epoch = False
        self._late = False  # whether so many minutes had passed when the step under way began
        self._counted = 0  # the count of steps at the last save, or where the epoch began
        self.start_clock()

    def start_clock(self) -> None:
        """Minutes are counted from now on."""
        self._last = self._clock()

    def start_count(self, count: int) -> None:
        """Steps are counted from this number on."""
        self._late, self._counted = False, count

    def saved(self, *, in_epoch: bool) -> None:
        """There was a save, in the middle of an epoch or between two of them."""
        self.start_clock()
        self.requested = False
        if not in_epoch:
            self.requested_in_epoch = False

    def due_after_epoch(self, phase: Phase, epoch: int) -> bool:
        """Whether to save after an epoch of this phase, which has this number."""
        return self._epochs is not None and isinstance(phase, self._phase) and epoch % self._epochs == 0

    def foresee(self, phase: Phase, count: int) -> bool:
        """Whether to save after the step that begins and will be this one, as far as is known."""
        if not isinstance(phase, self._during):
            return False
        if self._minutes is not None:
            self._late = self._clock() - self._last >= 60 * self._minutes
        return self._late or (self._steps is not None and count % self._steps == 0)

    def due(self, phase: Phase, count: int) -> bool:
        """Whether so many steps or minutes have passed since the last save."""
        if not isinstance(phase, self._during):
            return False
        return self._late or (self._steps is not None and count // self._steps > self._counted // self._steps)
