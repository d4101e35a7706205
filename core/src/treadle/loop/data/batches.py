"""The data of an epoch: its batches one after the other, and errors for data that have none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset, IterableDataset

from treadle.arguments import not_a_learner
from treadle.errors import ArgumentTypeError, DataError
from treadle.loop.scope import Scope
from treadle.state.propdict import PropDict, named
from treadle.state.random_state import RandomState, sources_of

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.phases import Phase


def batches(learner: Learner, phase: Phase, data: Any) -> Iterator[Any]:
    """The batches of an epoch; when a run is resumed in the middle of it, those that are left.

    A phase with an `epoch` of its own goes over its data with this, inside of `run_epoch`: then its
    epochs can be resumed as well. What it does at every n-th batch goes by `learner.progress.step`, which goes on in
    a resumed epoch, where a number of its own would begin anew.

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
    if not hasattr(learner, "position"):
        raise not_a_learner(learner, "batches(learner, phase, data)")
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        check_data(data, str(phase))
    iterator = first_to_come(learner, phase, data)
    for tap in learner.position.taps.values():
        iterator = tap(iterator)
    if learner.position.own is not None and phase.training:
        iterator = learner.position.own.until_trained(phase, data, iterator)
    return learner.handle(phase).agreement.together(iterator)


def first_to_come(learner: Learner, phase: Phase, data: Any) -> Iterator[Any]:
    """An iterator over all batches, or over those that are left."""
    position = learner.position
    share = position.processes.share(learner, phase, data)
    if position.resumption is not None:
        position.resumed = True
        rest = position.resumption.rest(phase, data)
        if rest is not None:
            return position.processes.begin(share, rest)
    position.at_start, iterator = position.passes_over(learner.data, phase, data).begin(
        RandomState(sources_of(learner)), share
    )
    return position.processes.begin(share, iterator)


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


def data_for(learner: Learner, phase: Phase, data: Any, scope: Scope) -> Any:
    """The data of an epoch: those of its phase, or those that were passed, which stand in `learner.data` meanwhile.

    Raises:
        DataError: if there are none.
    """
    name, before = phase.data_name, learner.data
    if data is None:
        if name is None:
            raise DataError(
                f"{phase} has no data of its own in the learner.\n"
                f"Fix: pass them, or say where they are:\n"
                f'    epoch(learner, {phase}, data)\n    data_name = "training"  # in {type(phase).__name__}'
            )
        if name not in before:
            raise DataError(
                f"{phase} runs over learner.data.{name}, and the learner has no such data (there is: "
                f"{', '.join(before) or 'nothing'}).\n"
                f"Fix: pass them:\n    epoch(learner, {phase}, data)  # or Learner(..., data={{{name!r}: data}})"
            )
        data = before[name]
    check_data(data, str(phase))
    if name is not None and (name not in before or before[name] is not data):
        scope.set(learner, data=PropDict({**vars(before), name: data}))
    return data


def check_data(data: Any, user: str) -> None:
    """Refuse data over which no epoch can run."""
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        raise DataError(
            f"{user} needs an iterable of batches, got a {type(data).__name__}, a data set, whose items are rows.\n"
            f"Fix: put a loader around it:\n    DataLoader(dataset, batch_size=32, shuffle=True)\n"
            f"Or, if its items are batches:\n    DataLoader(dataset, batch_size=None)"
        )
    if isinstance(data, type) or not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
        raise DataError(f"{user} needs an iterable of batches, got {data!r}.\nFix: pass a DataLoader or a list.")
    if length_of(data) == 0:
        raise empty_data(data, user)


def empty_data(data: Any, user: str) -> DataError:
    """The error for data without a batch."""
    fix = "pass a loader with at least one batch (with `drop_last=True`, a batch may be larger than the data)."
    if iter(data) is data:
        fix = "pass a list or a DataLoader, which can be run over again; it is an iterator and may be used up."
    return DataError(f"{user} got no batch from {type(data).__name__}.\nFix: {fix}")


def as_data(data: Any) -> PropDict:
    """Iterables of batches by name.

    Args:
        data: (), (training,), (training, validation), or a mapping of names to iterables.

    Raises:
        ArgumentTypeError: if it is none of these.
        DataError: if one of them is not an iterable, or is known to be empty.
    """
    if isinstance(data, Mapping):
        loaders = dict(named(data))
        if not all(isinstance(name, str) for name in loaders):
            raise ArgumentTypeError(
                f"The names of data must be texts, got {list(loaders)!r}.\n"
                f"Fix: write, for example:\n    data={{'training': loader}}"
            )
    elif isinstance(data, (tuple, list)) and len(data) <= 2 and not any(isinstance(x, torch.Tensor) for x in data):
        loaders = dict(zip(("training", "validation"), data, strict=False))
    else:
        kind = type(data).__name__
        if isinstance(data, (tuple, list)):
            kind += f" of {len(data)}"
        raise ArgumentTypeError(
            f"data must be (), (training,), (training, validation) or a mapping of names to iterables of batches, "
            f"got a {kind}.\n"
            f"Fix: write one loader alone with a comma:\n    data=(loader,)"
        )
    for name, loader in loaders.items():
        check_data(loader, f"data.{name}")
    return PropDict(loaders)
