"""A run in memory: saved between two steps or two epochs, and gone on with by another learner."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import islice
from typing import Any

from treadle.callback import Callback
from treadle.events import hookimpl
from treadle.learner import Learner
from treadle.loop.length import Length
from treadle.phases import AbstractTrainingPhase, Phase
from treadle.state.run.capture import capture_run
from treadle.state.run.values import has_state
from treadle.testing.comparison.frozen import frozen
from treadle.testing.comparison.run import Run, as_saved


def state_of(callback: Callback) -> Any:
    """A frozen copy of a callback's state, as a checkpoint would hold it."""
    return frozen(as_saved(callback.state_dict()))


class Saver(Callback):
    """Saves a run, in memory, before each of its epochs but the first, and after each step of training."""

    def __init__(self, run: Run) -> None:
        self.name = "!"  # first in the order, and so outermost
        self._run, self._depth = run, 0
        self.saved: list[Saved] = []

    @hookimpl(wrapper=True)
    def epoch(self) -> Generator[None, Any, Any]:
        if self._depth == 0 and self.saved:
            self.saved.append(Saved(self._run, inside=False))
        self._depth += 1
        try:
            return (yield)
        finally:
            self._depth -= 1

    @hookimpl(wrapper=True)
    def step(self, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
        self._depth += 1
        try:
            result = yield
        finally:
            self._depth -= 1
        if self._depth == 1:
            self.saved.append(Saved(self._run, inside=True))
        return result


class Saved:
    """A run from which another learner goes on; see `treadle.loop.position.Resumption`.

    Args:
        inside: Whether an epoch is under way.
    """

    def __init__(self, run: Run, *, inside: bool) -> None:
        assert run.callback is not None
        progress, position = run.learner.progress, run.learner.position
        self.run_state, self.rounds = capture_run(run.learner), position.rounds
        self._began = 0 if position.length is None else position.length.began
        self.callback_state, self._trail = state_of(run.callback), run.trail.copy()
        self._steps = progress.step if inside else None
        self.place = f"after step {progress.step} of epoch {progress.epoch}"
        if not inside:
            self.place = f"between two epochs, {self.rounds} of them done"

    def resume(self, run: Run) -> None:
        """Let the next fit of a run go on from here."""
        self._learner: Learner = run.learner
        run.trail.steps, run.trail.validation, run.trail.begun = (*map(list, self._trail[:2]), self._trail[2])
        self.run_state.check(run.learner)
        self._put_back("now")
        run.learner.position.resumption = self

    def _put_back(self, moment: str) -> None:
        self.run_state.put_back(self._learner, moment=moment)
        self._learner.position.rounds = self.rounds

    def begin(self, length: Length) -> None:
        """Go on in the round that was under way, of the fit that was."""
        length.began = self._began
        self._learner.position.rounds = self.rounds

    def restore(self) -> None:
        """Put the state back after `FitBegin` was handled."""
        self._put_back("entry")
        if self._steps is None:
            self.run_state.put_back_data(self._learner)
            self._learner.position.resumption = None

    def rest(self, phase: Phase, data: Any) -> Iterator[Any] | None:
        """Put the state back after `EpochBegin` was handled, and go on with the next batch."""
        learner, position = self._learner, self._learner.position
        position.resumption = None
        if self._steps is None:
            return None
        entry = position.at_entry
        self._put_back("start")
        position.at_start, position.at_entry = self.run_state.pass_start(learner), entry
        self.run_state.put_back_data(learner)
        position.passes_over(learner.data, phase, data).resume(position.at_start.values)
        batches: Iterator[Any] = iter(data)
        if not has_state(data):  # else it goes on by itself
            for _ in islice(batches, self._steps):
                pass
        position.skipped = learner.progress.step = self._steps
        self.run_state.random_state(learner, "now").put_back()
        return batches
