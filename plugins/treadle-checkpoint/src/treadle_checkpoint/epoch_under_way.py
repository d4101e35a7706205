"""`EpochUnderWay`: where in the epoch under way a run can be saved, and when that is due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from loguru import logger
from treadle import CancelFittingException, Phase
from treadle.authoring import RandomState, has_state, phase_key, position_of, reach_point

from treadle_checkpoint.batch_digest import batch_digest
from treadle_checkpoint.loader_place import LoaderPlace
from treadle_checkpoint.place import Place, between_epochs
from treadle_checkpoint.processes import Processes
from treadle_checkpoint.ranking import values_of

if TYPE_CHECKING:
    from treadle_checkpoint.checkpointer import Checkpointer


class EpochUnderWay:
    """The outermost epoch under way.

    Between two of its batches a run is saved when the next one is asked for, so that all that the phase does between
    them is done, such as to validate, and nothing that is drawn for the next one is.

    Args:
        learner: What the callback sees of it.
        saving: The callback.

    Attributes:
        counts: How far the fit had come when it began, or None outside of a fit.
        beginning: Whether its `EpochBegin` is being dispatched.
        ended: Whether its `EpochEnd` got through to the callback.
        inner_ended: Whether that of the last epoch inside of it did.
        depth: How many steps of it, and epochs inside of it, are under way.
        recorded: How many values of its metrics there were before it.
        over_batches: Whether it goes over its data with `batches`.
        saved: Whether it was saved because the fit was cancelled in it.
        iterator: Its batches, for as long as it can be saved inside of it: without the iterator of its pass, a loader
            may take that for over.
    """

    def __init__(self, learner: Any, phase: Phase, saving: Checkpointer) -> None:
        self.learner, self.phase, self.saving = learner, phase, saving
        self.position = position_of(learner)
        self.rounds, length = self.position.rounds, self.position.length
        self.counts = None if length is None else length.counts(self.rounds)
        self.beginning = self.ended = self.inner_ended = self.over_batches = self.saved = False
        self.depth = 0
        self._taken = self._steps = 0  # batches of it, since it began or was resumed; steps of it that have begun
        self._begun = 0  # of these, those with a step that has ended
        self._before_batch: RandomState | None = None
        self._loader: LoaderPlace | None = None
        self.iterator: Iterator[Any] | None = None
        self._start: tuple[Any, int] = (None, 0)  # `Position` forgets it when the epoch's scope ends
        saving.times.start_count(self._count())
        self.recorded = {name: len(values_of(learner.cbstate, phase, name)) for name in ("Loss", saving.metric)}

    def open(self) -> None:
        """From now on its batches go through `_watched`."""
        self.close()
        self.position.taps[self.saving] = self._tap

    def close(self) -> None:
        """They do so no longer."""
        self.position.taps.pop(self.saving, None)
        self.iterator = None

    @property
    def is_over(self) -> bool:
        """Whether it had come to its end when the fit was cancelled."""
        return self.ended or self.position.rounds > self.rounds

    @property
    def can_end_after_step(self) -> bool:
        """Whether the step under way is one of its own, after which it can be saved and resumed."""
        return self.depth == 1 and self.over_batches

    def counts_after(self) -> Any:
        """How far the fit will have come when it has ended; None outside of a fit."""
        length, rounds = self.position.length, self.position.rounds
        return None if length is None or self.counts is None else self.counts.after(self.phase, length.counts(rounds))

    def place_after(self) -> Place:
        """The place when it has ended."""
        return replace(between_epochs(self.position, self.counts_after()), rounds=self.rounds + 1)

    def due(self) -> bool:
        """Whether so many steps or minutes have passed since the last save."""
        return self.saving.times.due(self.phase, self._count())

    def _count(self) -> int:
        """What `every_steps` counts."""
        return self.learner.progress.steps if self.phase.training else self._start[1] + self._taken

    def _tap(self, iterator: Iterator[Any]) -> Iterator[Any]:
        return iterator if self.depth else self._watched(iterator)  # not those of an epoch inside of it

    def _watched(self, iterator: Iterator[Any]) -> Iterator[Any]:
        """The batches, and between them the saves."""
        self.over_batches, self._start = True, (self.position.at_start, self.position.skipped)
        saving, times, processes = self.saving, self.saving.times, Processes()
        times.start_count(self._count())
        self._loader = loader = self._loader_place()
        self.iterator = iterator
        for batch in self._remembered(iterator) if processes.size > 1 else iterator:
            self._taken += 1
            foreseen = times.foresee(self.phase, self._count() + bool(self.phase.training))
            # Before a callback changes the batch in place.
            digest = batch_digest(batch) if foreseen and saving.whole_run else None
            yield batch
            self._steps = self.learner.progress.step
            loader.look()
            # Several processes save together what all know of; what one asks for, when the epoch has ended.
            if (times.requested and processes.size == 1) or self.due():
                reach_point(self.learner, self.phase, "save")
                loader.refuse()
                if self.phase.training:
                    saving.loss = saving.losses.values()[0].value
                saving.save(self.learner, self._place(digest))
                times.start_count(self._count())

    def _remembered(self, iterator: Iterator[Any]) -> Iterator[Any]:
        """The batches; the random generators are remembered as they were before each."""
        known = self.position.at_start.random.generators if self.position.at_start is not None else {}
        while True:
            self._before_batch = RandomState(known)
            try:
                batch = next(iterator)
            except StopIteration:
                return
            yield batch

    def _loader_place(self) -> LoaderPlace:
        """For the loader that it goes over; one of a phase that may go over something else is not looked at."""
        name, known = str(self.phase.data_name), type(self.phase).epoch is Phase.epoch
        return LoaderPlace(name, self.learner.data.get(name) if known and self.saving.whole_run else None)

    def _place(self, digest: str | None = None) -> Place:
        return replace(
            replace(between_epochs(self.position), rounds=self.rounds),
            phase=phase_key(type(self.phase)),
            data=self.phase.data_name,
            batches=self._start[1] + self._taken,
            steps=self._steps,
            digest=digest,
            first=self._loader.first if self._loader is not None and not self._start[1] else None,
        )

    @property
    def _own_state(self) -> bool:
        """Whether its loader has a state of its own, which says what it gave."""
        return has_state(self.learner.data.get(str(self.phase.data_name)))

    def end_step(self) -> None:
        """A step of it has ended, in whatever way."""
        self._begun, self._steps = self._taken, self.learner.progress.step

    def give_back(self) -> None:
        """Other processes ended the fit while this one asked for its next batch: as if it had not asked."""
        if self._taken == self._begun or self._before_batch is None:
            return
        self._before_batch.put_back()
        self._taken = self._begun

    def save_cancelled(self, cancel: CancelFittingException, *, in_step: bool) -> None:
        """Save where the fit was cancelled, unless that is not wanted or was done.

        Args:
            in_step: Whether a step was cancelled; else the epoch's scope has ended already.
        """
        if self.saved or self.position.length is None or not self.saving.saves_cancelled():
            return
        self.saved = True
        if (in_step or self._steps) and not self.over_batches:
            logger.warning(
                f"No checkpoint was saved where the fit was cancelled: {type(self.phase).__name__}.epoch goes over its "
                f"data by itself.\nFix: let it go over its data with treadle.authoring.batches."
            )
            return
        if Processes().size > 1:
            self.give_back()
        if len(set(Processes().gather((self._taken, self._steps, self._own_state)))) > 1 or (
            Processes().size > 1 and self._own_state
        ):
            logger.warning(
                "No checkpoint was saved where the fit was cancelled: the processes do not stand at the same batch, or "
                "their loader counts what it gave.\nFix: save by steps:\n    Checkpointer(folder, every_steps=1000)"
            )
            return
        if self._loader is not None:
            self._loader.refuse()
        position = self.position
        before = position.at_start, position.skipped
        if in_step:
            self._steps = self.learner.progress.step
        else:
            position.at_start, position.skipped = self._start
        try:
            place = self._place()
            if self.saving.whole_run:
                place = place.ended_by(cancel, self.learner.callbacks)
            self.saving.save(self.learner, place)
        finally:
            position.at_start, position.skipped = before
