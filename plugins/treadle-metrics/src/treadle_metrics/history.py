"""`History`: how far a phase has come."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(slots=True)
class History:
    """How far a phase has come. `learner.cbstate.history[phase]` is one.

    Args:
        epochs: Epochs that ran to their end, or were ended by `CancelEpochException`.
        steps: Steps that ran to their end, in all epochs.
        steps_epoch: Steps that ran to their end in the last epoch that began.

    Example:
        >>> from treadle import ValidationPhase, toy_learner
        >>> from treadle_metrics import Recorder
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

    def state_dict(self) -> dict[str, int]:
        """The numbers by name."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.epochs, self.steps, self.steps_epoch = state["epochs"], state["steps"], state["steps_epoch"]
