"""Can a checkpoint hold its state, and does a new callback go on from there?"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from treadle.callback import Callback
from treadle.errors import NotSaveableError
from treadle.events import hookimpl
from treadle.phases import Phase, TrainingPhase
from treadle.state.run.run_state import capture_run
from treadle.testing.frozen import frozen, same
from treadle.testing.report import DoesNotApply, Finding
from treadle.testing.run import Run, as_saved
from treadle.testing.subject import EPOCHS, Subject, seeded

if TYPE_CHECKING:
    from treadle.learner import Learner

FIX = "return from state_dict all that its handlers go on from, and take it over in load_state_dict."


def check(subject: Subject) -> None:
    """A checkpoint can hold its state, and a new callback goes on from it."""
    with seeded():
        first = subject.run()
        saver = Saver(first)
        first.learner.add_callback(saver)
        try:
            first.fit(EPOCHS)
        except NotSaveableError as error:
            raise Finding(str(error)) from error
    if saver.saved is None:
        raise DoesNotApply("It ends the fit in its first epoch, so there is no state to go on from.")
    with seeded():
        second = subject.run()
        assert second.callback is not None
        saver.saved.resume(second.learner)
        if not same(state_of(second.callback), saver.saved.callback_state):
            raise Finding(f"After load_state_dict, state_dict returns something else than was loaded.\nFix: {FIX}")
        second.trail.steps = first.trail.steps[: second.learner.progress.steps]
        second.fit(EPOCHS)
    first.compare(second, "Resumed from a checkpoint", FIX)


def state_of(callback: Callback) -> Any:
    """A frozen copy of a callback's state, as a checkpoint would hold it."""
    return frozen(as_saved(callback.state_dict()))


class Saver(Callback):
    """Saves a run, in memory, right before its second epoch of training."""

    def __init__(self, run: Run) -> None:
        self.name = "!"  # first in the order, and so outermost
        self._run, self._epochs = run, 0
        self.saved: Saved | None = None

    @hookimpl(wrapper=True)
    def epoch(self, phase: TrainingPhase) -> Generator[None, Any, Any]:
        self._epochs += 1
        if self._epochs == 2:
            self.saved = Saved(self._run)
        return (yield)


class Saved:
    """A run between two epochs, from which another learner goes on; see `treadle.loop.position.Resumption`."""

    def __init__(self, run: Run) -> None:
        assert run.callback is not None
        self.run_state, self._rounds = capture_run(run.learner), run.learner.position.rounds
        self.callback_state = state_of(run.callback)

    def resume(self, learner: Learner) -> None:
        """Let the learner's next fit go on from here."""
        self._learner = learner
        self.run_state.check(learner)
        self._put_back()
        learner.position.resumption = self

    def _put_back(self) -> None:
        self.run_state.put_back(self._learner)
        self._learner.position.rounds = self._rounds

    def begin(self, n: int, phases: tuple[Phase, ...]) -> None:
        """Nothing is to be refused."""

    def restore(self) -> None:
        """Put the state back after `FitBegin` was handled."""
        self._put_back()
        self._learner.position.resumption = None

    def rest(self, phase: Phase, data: Any) -> Iterator[Any] | None:
        """No epoch was under way."""
        return None
