"""How a learner goes on with a run that was saved; see `treadle.loop.position.Resumption`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from treadle import Learner, Phase

from treadle_checkpoint.errors import MismatchError
from treadle_checkpoint.fast_forward import fast_forward
from treadle_checkpoint.position import phase_key
from treadle_checkpoint.shared_entries import has_state
from treadle_checkpoint.snapshot import Restorer


class SavedRun:
    """What a resumed run has yet to take over.

    Args:
        learner: The learner.
        restorer: Puts the saved run's state into it.
    """

    def __init__(self, learner: Learner, restorer: Restorer) -> None:
        self.learner, self.restorer, self.position = learner, restorer, restorer.position

    def begin(self, n: int, phases: tuple[Phase, ...]) -> None:
        """Refuse a fit that does not go on where the saved one was.

        Raises:
            MismatchError: if it has other phases, or fewer epochs than were done.
        """
        at = self.position
        if at.n is None:
            raise MismatchError(
                f"The run was saved in an epoch of {at.phase} that was run by treadle.epoch and not by fit. "
                f"Resume it so: treadle.epoch(learner, {str(at.phase).partition(':')[2]}())"
            )
        if (own := tuple(map(phase_key, phases))) != at.phases:
            raise MismatchError(
                f"Each epoch of the saved fit had {' and '.join(at.phases)}, and of this one has {' and '.join(own)}. "
                f"Resume with the same phases; without validation data there is no validation."
            )
        if n * len(phases) < at.rounds + (at.phase is not None):
            raise MismatchError(
                f"The saved fit({at.n}) is already past epoch {n}. Its number counts from its beginning: "
                f"learner.fit({at.n})"
            )
        self.learner.position.rounds = at.rounds

    def restore(self) -> None:
        """Put the state back after `FitBegin` was handled."""
        self.restorer.put_all("entry")
        if self.position.phase is None:
            self.restorer.put_loaders()
            self.learner.position.resumption = None

    def rest(self, phase: Phase, data: Any) -> Iterator[Any] | None:
        """Put the state back after `EpochBegin` was handled, and go on with the next batch.

        Raises:
            MismatchError: if an epoch of another phase was under way, or the data are other ones.
        """
        at, position = self.position, self.learner.position
        position.resumption = None
        if at.phase is None:
            return None
        if phase_key(phase) != at.phase:
            position.resumption = self
            raise MismatchError(
                f"The run was saved in the middle of an epoch of {at.phase}, and {phase_key(phase)} was to run. "
                f"Run the rest of that epoch first."
            )
        entry = position.at_entry
        self.restorer.put_all("start")
        position.at_start, position.at_entry = self.restorer.random_state("start"), entry
        self.restorer.put_loaders()
        own = self.learner.data.get(at.data) if at.data is not None else None
        if own is not None and own is data and has_state(own):
            batches: Iterator[Any] = iter(data)
        else:
            batches = fast_forward(data, at.batches, at.digest, str(at.data))
        position.skipped, self.learner.progress.step = at.batches, at.steps
        self.restorer.random_state("now").put_back()
        return batches
