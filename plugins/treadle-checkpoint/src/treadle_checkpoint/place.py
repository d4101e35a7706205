"""`Place`: where in its fit and in an epoch a run was saved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from treadle import Callback, CancelFittingException
from treadle.authoring import by_unique_name, phase_key

from treadle_checkpoint.ended import cancel_state
from treadle_checkpoint.errors import damaged
from treadle_checkpoint.manifest import is_count, is_text


@dataclass(frozen=True)
class Place:
    """Where in its fit, and where in an epoch, a run was saved: between two steps, or between two epochs.

    Args:
        n: The number of epochs that the fit was asked for; None outside of a fit, and in one of some steps.
        total: The number of training steps that it was asked for, or None.
        every: The number of training steps from validation to validation, or None.
        began: How many training steps had been done when it began.
        rounds: Epochs of that fit, of any phase, that have ended, without those inside of others.
        passes: Epochs of training that have ended, if it goes by steps.
        validations: Epochs of validation that have ended, wherever, if it goes by steps.
        phases: The keys of the phases that it runs.
        phase: The key of the phase of the epoch under way; None between two epochs.
        data: What its data are called in `learner.data`, if they are there.
        batches: How many of its batches are done.
        steps: How many of its steps have begun.
        digest: The `batch_digest` of the last of them, if there is one.
        first: The digest of the state of the epoch's loader after its first batch, if that is known.
        ended: The `cancel_state` of what ended the fit for good; None if epochs are left to run.
        by: The key of the callback that raised it, or None.
    """

    n: int | None = None
    total: int | None = None
    every: int | None = None
    began: int = 0
    rounds: int = 0
    passes: int = 0
    validations: int = 0
    phases: tuple[str, ...] = ()
    phase: str | None = None
    data: str | None = None
    batches: int = 0
    steps: int = 0
    digest: str | None = None
    first: str | None = None
    ended: dict[str, Any] | None = None
    by: str | None = None

    @property
    def in_fit(self) -> bool:
        """Whether it is in a fit."""
        return self.n is not None or self.total is not None

    def ended_by(self, cancel: CancelFittingException | None, callbacks: Iterable[Callback]) -> Place:
        """The same place, in a fit that was cancelled there; it is over then only if that is final."""
        if cancel is None or not cancel.final:
            return self
        keys = [key for key, callback in by_unique_name(callbacks).items() if callback is cancel.callback]
        return replace(self, ended=cancel_state(cancel), by=keys[0] if keys else None)


def between_epochs(position: Any, counts: Any = None) -> Place:
    """The place between two epochs of the fit under way, if there is one.

    Args:
        counts: How far it has come. Default: as far as it has.
    """
    length = position.length
    if length is None:
        return Place(rounds=position.rounds)
    rounds, passes, validations = length.counts(position.rounds) if counts is None else counts
    return Place(
        n=length.n,
        total=length.steps,
        every=length.validate_every,
        began=length.began,
        rounds=rounds,
        passes=passes,
        validations=validations,
        phases=tuple(phase_key(type(phase)) for phase in length.phases),
    )


def place_of(values: Any, file: Path) -> Place:
    """The place that a file says.

    Raises:
        DamagedCheckpointError: if it is none.
    """
    valid = {
        **dict.fromkeys(("n", "total", "every"), lambda value: value is None or is_count(value)),
        "phases": lambda value: isinstance(value, list) and all(map(is_text, value)),
        **dict.fromkeys(("began", "rounds", "passes", "validations", "batches", "steps"), is_count),
        **dict.fromkeys(("phase", "data", "digest", "first", "by"), lambda value: value is None or is_text(value)),
        "ended": lambda value: value is None or isinstance(value, dict),
    }
    if not isinstance(values, dict) or not values.keys() <= valid.keys():
        raise damaged(file, "it has no place of a run")
    for name, value in values.items():
        if not valid[name](value):
            raise damaged(file, f"the entry {name!r} of its place has an invalid value")
    return Place(**{**values, "phases": tuple(values.get("phases", ()))})
