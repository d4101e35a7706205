"""`Recorder`: counts the epochs and steps of each phase, in a `History` each."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from treadle import Callback, Phase, Write

from treadle_metrics.by_phase import ByPhase


@dataclass(slots=True)
class History:
    """How far a phase has come. `learner.cbstate.history[phase]` is one.

    Args:
        epochs: Epochs that ran to their end, or were ended by `CancelEpochException`.
        steps: Completed steps, in all epochs.
        steps_epoch: Completed steps of the last epoch that began.

    Example:
        >>> from treadle import ValidationPhase, toy_learner
        >>> learner = toy_learner(Recorder(), nbatches=4)
        >>> _ = learner.fit(3)
        >>> history = learner.cbstate.history[ValidationPhase()]
        >>> history.epochs, history.steps, history.steps_epoch
        (3, 12, 4)
    """

    epochs: int = 0
    steps: int = 0
    steps_epoch: int = 0

    def to_dict(self) -> dict[str, int]:
        """The numbers by name."""
        return asdict(self)

    state_dict = to_dict

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epochs, self.steps, self.steps_epoch = state["epochs"], state["steps"], state["steps_epoch"]


class Recorder(Callback):
    """Count the epochs and steps of each phase, in `learner.cbstate.history`.

    Steps and epochs are counted at their end: a cancelled step is not, and an epoch that
    `CancelEpochException` ended is. One of the default callbacks.

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
        self._phase = None  # the first step looks it up: a state may be loaded in between

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        if phase is not self._phase:
            self._phase, self._history = phase, learner.cbstate.history.of(phase)
        history = self._history
        history.steps += 1
        history.steps_epoch += 1

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        learner.cbstate.history.of(phase).epochs += 1
