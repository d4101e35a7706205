"""`Recorder`: counts the epochs and steps of each phase."""

from __future__ import annotations

from typing import Any

from treadle import Callback, Phase, Write

from treadle_metrics.by_phase import ByPhase
from treadle_metrics.history import History
from treadle_metrics.under_way import EpochsUnderWay


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

    Source: FluxTraining.jl, `Recorder`.
    """

    state_access = {"cbstate.history": Write}

    def __init__(self) -> None:
        self._under_way = EpochsUnderWay()
        self._phase: Phase | None = None  # whose history is at hand, so that a step need not look it up
        self._history = History()

    def on_init(self, learner: Any) -> None:
        if "history" not in learner.cbstate:
            learner.cbstate.history = ByPhase(History)
        self._phase = None

    def on_epoch_begin(self, learner: Any, phase: Phase) -> None:
        self._phase, self._history = phase, learner.cbstate.history.of(phase)
        if self._under_way.begin(phase):
            self._history.steps_epoch = 0

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        if phase is not self._phase:
            self._phase, self._history = phase, learner.cbstate.history.of(phase)
        history = self._history
        history.steps += 1
        history.steps_epoch += 1

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        learner.cbstate.history.of(phase).epochs += 1
        self._under_way.end(phase)

    def on_fit_end(self) -> None:
        self._under_way.clear()

    def state_dict(self) -> dict[str, Any]:
        return {"under_way": self._under_way.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._under_way.load_state_dict(state["under_way"])
        self._phase = None
