"""`Recorder`: counts the epochs and steps of each phase, in a `History` each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from treadle import Callback, Phase, Write
from treadle.authoring import OpenEpochs

from treadle_metrics.by_phase import ByPhase


@dataclass(slots=True)
class History:
    """How far a phase has come. `learner.cbstate.history[phase]` is one.

    Args:
        epochs: Epochs that ran to their end, or were ended by `CancelEpochException`.
        steps: Completed steps, in all epochs.
        steps_epoch: Completed steps of the epoch under way, or else of the last one, without epochs inside of it.

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

    state_dict = part = to_dict

    def merge(self, parts: Sequence[dict[str, int]]) -> None:
        """Count as the process that had the most steps; in validation they may differ by one for each epoch."""
        self.steps = max(part["steps"] for part in parts)
        self.steps_epoch = max(part["steps_epoch"] for part in parts)

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
        self._epochs: OpenEpochs[int] = OpenEpochs()  # the steps of an epoch of an equal phase that is around one

    def on_init(self, learner: Any) -> None:
        if "history" not in learner.cbstate:
            learner.cbstate.history = ByPhase(History)
        self._phase = None

    def on_epoch_begin(self, learner: Any, phase: Phase) -> None:
        history = learner.cbstate.history.of(phase)
        self._epochs.begin(learner, phase, history.steps_epoch)
        history.steps_epoch = 0
        self._phase = None  # the first step looks it up: a state may be loaded in between

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        if phase is not self._phase:
            self._phase, self._history = phase, learner.cbstate.history.of(phase)
        history = self._history
        history.steps += 1
        history.steps_epoch += 1

    def added_up(self, learner: Any, phase: Phase) -> list[History]:
        return [learner.cbstate.history.of(phase)]

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        history = learner.cbstate.history.of(phase)
        history.epochs += 1
        steps = self._epochs.end(learner, phase)
        if steps is not None and phase in self._epochs.phases():
            history.steps_epoch = steps
