"""Where a training is, as fastai counts it: from 0, in epochs that each have their validation."""

from __future__ import annotations

from typing import Any

from treadle import AbstractTrainingPhase, AbstractValidationPhase
from treadle.authoring import position_of

# An epoch as fastai means it is a round of the phases. In a fit that goes by steps it is a pass over the training data.


def goes_by_steps(position: Any) -> bool:
    """Whether the fit under way goes by steps, and validates in the middle of an epoch."""
    return position.length is not None and position.length.by_steps


def begins_round(learner: Any) -> bool:
    """Whether an epoch of training is the first one of an epoch as fastai means it."""
    position = position_of(learner)
    if position.nested or position.length is None or goes_by_steps(position):
        return not position.nested
    before = position.phases[: position.rounds % len(position.phases)]
    return not any(isinstance(phase, AbstractTrainingPhase) for phase in before)


def ends_round(learner: Any, phase: Any, *, skip_validate: bool) -> bool:
    """Whether an epoch is the last one of an epoch as fastai means it."""
    position = position_of(learner)
    if position.nested or position.length is None or goes_by_steps(position):
        return not position.nested and isinstance(phase, AbstractTrainingPhase)
    after = position.phases[position.rounds % len(position.phases) + 1 :]
    return not after or (skip_validate and all(isinstance(other, AbstractValidationPhase) for other in after))


def epoch_of(learner: Any, *, skip_validate: bool) -> int:
    """The epoch under way, from 0; after the last one, how many there were."""
    position = position_of(learner)
    if position.length is None:
        return max(int(learner.progress.epoch) - 1, 0)
    if position.length.by_steps:
        return int(position.length.passes)
    epochs, ended = divmod(position.rounds, len(position.phases))
    left = position.phases[ended:]
    over = skip_validate and ended and all(isinstance(phase, AbstractValidationPhase) for phase in left)
    return int(epochs + bool(over))


def iteration_of(learner: Any, start: int, *, counted: bool) -> int:
    """How many batches of training were done before the one that a handler is about.

    Args:
        start: The number of training steps that were done before the fit.
        counted: Whether the loop has counted that batch already.
    """
    progress = learner.progress
    return max(int(progress.steps) - start - (counted and in_training(learner)), 0)


def place_of(learner: Any) -> str:
    """What tells one batch from another at its level of the loop; the same from its beginning to its end."""
    progress = learner.progress
    return f"{type(progress.phase).__name__} {progress.epoch} {progress.step}"


def in_training(learner: Any) -> bool:
    """Whether a training phase is under way."""
    phase = learner.progress.phase
    return phase is not None and phase.training is True


def completes(learner: Any) -> bool:
    """Whether the update under way is one that an epoch ended in, so that its last batch is counted already."""
    return bool(position_of(learner).updates.completing)


def observed(learner: Any) -> bool:
    """Whether the phase under way is a part of the run."""
    phase = learner.progress.phase
    return phase is None or phase.observed
