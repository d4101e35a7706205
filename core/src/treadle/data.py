"""The data of an epoch: its batches one after the other, and errors for data that have none."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import TYPE_CHECKING, Any

from treadle.errors import DataError
from treadle.random_state import RandomState

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.phases import Phase


def batches(learner: Learner, phase: Phase, data: Any) -> Iterator[Any]:
    """The batches of an epoch; when a run is resumed in the middle of it, those that are left.

    A phase with an `epoch` of its own goes over its data with this, inside of `run_epoch`: then its
    epochs can be resumed as well.

    Args:
        learner: The learner.
        phase: The phase.
        data: An iterable of batches.

    Example:
        >>> from treadle import Phase, epoch, run_epoch, step, toy_learner
        >>> class LongFirst(Phase):
        ...     def epoch(self, learner, data):
        ...         with run_epoch(learner, self):
        ...             for batch in batches(learner, self, sorted(data, key=len, reverse=True)):
        ...                 step(learner, self, batch)
        ...     def step(self, learner, batch):
        ...         print(batch)
        >>> epoch(toy_learner(), LongFirst(), ["ab", "abcd"])
        abcd
        ab
    """
    progress = learner.progress
    if progress.resumption is not None:
        rest = progress.resumption.rest(phase, data)
        if rest is not None:
            return rest
    progress.at_start = RandomState(vars(learner.data).values())
    return iter(data)


def check_data(data: Any, user: str) -> None:
    """Refuse data over which no epoch can run."""
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        raise DataError(f"{user} needs an iterable of batches, got {data!r}. Pass a DataLoader or a list.")
    try:
        empty = isinstance(data, Sized) and len(data) == 0
    except (TypeError, NotImplementedError):  # a loader over an iterable data set has a length only by name
        empty = False
    if empty:
        raise empty_data(data, user)


def empty_data(data: Any, user: str) -> DataError:
    """The error for data without a batch."""
    mend = "Pass a loader with at least one batch (with `drop_last=True`, a batch may be larger than the data)."
    if iter(data) is data:
        mend = "It is an iterator and may be used up: pass a list or a DataLoader, which can be run over again."
    return DataError(f"{user} got no batch from {type(data).__name__}. {mend}")
