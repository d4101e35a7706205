"""`Recorder`: counts the epochs and steps of each phase."""

from __future__ import annotations

from typing import Any

from treadle import Callback, Phase, Write

from treadle_metrics.by_phase import ByPhase
from treadle_metrics.history import History


class Recorder(Callback):
    """Count the epochs and steps of each phase, in `learner.cbstate.history`.

    A step is counted at its end, so a cancelled one is not; an epoch likewise, and one that was
    ended by `CancelEpochException` is. One of the default callbacks.

    Writes: `cbstate.history`.

    Example:
        >>> from treadle import TrainingPhase, toy_learner
        >>> learner = toy_learner(Recorder())
        >>> _ = learner.fit(2)
        >>> learner.cbstate.history[TrainingPhase()]
        History(epochs=2, steps=32, steps_epoch=16)
    """

    state_access = {"cbstate.history": Write}

    def __init__(self) -> None:
        self._phase: Phase | None = None  # whose history is at hand, so that a step need not look it up
        self._history = History()

    def on_init(self, learner: Any) -> None:
        if "history" not in learner.cbstate:
            learner.cbstate.history = ByPhase(History)
        self._phase = None

    def on_epoch_begin(self, learner: Any, phase: Phase) -> None:
        learner.cbstate.history.of(phase).steps_epoch = 0
        self._phase = None  # the first step looks it up, after a state that may be loaded in between

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        if phase is not self._phase:
            self._phase, self._history = phase, learner.cbstate.history.of(phase)
        history = self._history
        history.steps += 1
        history.steps_epoch += 1

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        learner.cbstate.history.of(phase).epochs += 1
