"""Where in its fit, and where in an epoch, a run was saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from treadle import Phase


@dataclass(frozen=True)
class Position:
    """A place between two steps, or between two epochs.

    Args:
        n: The number of epochs that the fit was asked for; None outside of a fit.
        rounds: Epochs of that fit, of any phase, that came to their end.
        phases: The types of the phases that each of its epochs has.
        phase: The type of phase of the epoch under way; None between two epochs.
        data: What its data are called in `learner.data`, if they are there.
        batches: How many of its batches are done.
        steps: How many of its steps have begun.
        digest: The `batch_digest` of the last of them, if it could be told.
    """

    n: int | None = None
    rounds: int = 0
    phases: tuple[str, ...] = ()
    phase: str | None = None
    data: str | None = None
    batches: int = 0
    steps: int = 0
    digest: str | None = None


def between(at: Any, rounds: int) -> Position:
    """The place between two epochs, after so many of the fit under way; `at` is what `position_of` gives."""
    return Position(at.n, rounds, tuple(phase_key(phase) for phase in at.phases))


def phase_key(phase: Phase) -> str:
    """A type of phase as a string: its module and name."""
    return f"{type(phase).__module__}:{type(phase).__qualname__}"
