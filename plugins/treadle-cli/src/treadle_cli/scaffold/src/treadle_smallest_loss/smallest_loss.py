"""`SmallestLoss`: the smallest loss of all training steps so far."""

import torch
from treadle import AbstractTrainingPhase, Callback, Learner, Read, Write
from treadle.authoring import whole_number


class SmallestLoss(Callback):
    """Keep the smallest training loss so far where other callbacks can read it.

    Args:
        warmup: The number of training steps, from the first one on, that do not count.

    Reads: `step.loss`.
    Writes: `cbstate.smallest_loss`, a tensor that stays on the loss's device.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner(SmallestLoss())
        >>> _ = learner.fit(5)
        >>> learner.cbstate.smallest_loss < 10
        tensor(True)
    """

    # All that the handlers below use of the learner. Anything else is an error that names the line to add.
    state_access = {"step.loss": Read, "cbstate.smallest_loss": Write}

    def __init__(self, warmup: int = 0) -> None:
        self.warmup = whole_number(warmup, "SmallestLoss(warmup)", "SmallestLoss(warmup=100)", least=0)

    def on_init(self, learner: Learner) -> None:
        learner.cbstate.smallest_loss = torch.tensor(torch.inf)

    def on_step_end(self, learner: Learner, phase: AbstractTrainingPhase) -> None:
        if learner.progress.steps > self.warmup:
            loss = learner.step.loss.detach()  # without `item()`, which would wait for the device
            learner.cbstate.smallest_loss = torch.minimum(learner.cbstate.smallest_loss.to(loss), loss)
