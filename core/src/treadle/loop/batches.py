"""The data of an epoch: its batches one after the other, and errors for data that have none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any

import torch

from treadle.errors import ArgumentTypeError, DataError
from treadle.state.propdict import PropDict, named
from treadle.state.random_state import RandomState

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
    position = learner.position
    if position.resumption is not None:
        rest = position.resumption.rest(phase, data)
        if rest is not None:
            return rest
    position.at_start = RandomState(vars(learner.data).values())
    return iter(data)


def check_data(data: Any, user: str) -> None:
    """Refuse data over which no epoch can run."""
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        raise DataError(f"{user} needs an iterable of batches, got {data!r}. Pass a DataLoader or a list.")
    if length_of(data) == 0:
        raise empty_data(data, user)


def length_of(data: Any) -> int | None:
    """The number of batches, or None if the data do not know it.

    Example:
        >>> length_of(["a", "b"]), length_of(iter(["a", "b"]))
        (2, None)
    """
    try:
        return len(data) if isinstance(data, Sized) else None
    except (TypeError, NotImplementedError):  # a loader over an iterable data set has a length only by name
        return None


def empty_data(data: Any, user: str) -> DataError:
    """The error for data without a batch."""
    mend = "Pass a loader with at least one batch (with `drop_last=True`, a batch may be larger than the data)."
    if iter(data) is data:
        mend = "It is an iterator and may be used up: pass a list or a DataLoader, which can be run over again."
    return DataError(f"{user} got no batch from {type(data).__name__}. {mend}")


def as_data(data: Any) -> PropDict:
    """Iterables of batches by name.

    Args:
        data: (), (training,), (training, validation), or a mapping of names to iterables.

    Raises:
        ArgumentTypeError: if it is none of these.
        DataError: if one of them is no iterable, or is known to be empty.
    """
    if isinstance(data, Mapping):
        loaders = dict(named(data))
        if not all(isinstance(name, str) for name in loaders):
            raise ArgumentTypeError(
                f"A mapping of data has names as its keys, got {list(loaders)!r}: {{'training': loader}}"
            )
    elif (
        isinstance(data, (tuple, list)) and len(data) <= 2 and not any(isinstance(each, torch.Tensor) for each in data)
    ):
        loaders = dict(zip(("training", "validation"), data, strict=False))
    else:
        kind = (
            f"{len(data)} things in a {type(data).__name__}" if isinstance(data, (tuple, list)) else type(data).__name__
        )
        raise ArgumentTypeError(
            f"The data are (), (training,), (training, validation) or a mapping of names to iterables of batches, got "
            f"{kind}. One loader alone is written with a comma: data=(loader,)"
        )
    for name, batches in loaders.items():
        check_data(batches, f"data.{name}")
    return PropDict(loaders)
