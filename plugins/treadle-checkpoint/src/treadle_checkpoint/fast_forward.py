"""The batches of an epoch that are left when a run is resumed in the middle of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset
from treadle.authoring import RandomState, has_state
from treadle.errors import MismatchError, NotResumableError

from treadle_checkpoint.batch_digest import batch_digest


def fast_forward(data: Any, done: int, digest: str | None, name: str) -> Iterator[Any]:
    """An iterator over what is left of an epoch.

    The random generators must be as they were when the epoch began. A plain `DataLoader` without workers draws its
    order and loads nothing of what is skipped but two batches; of anything else every batch is taken and dropped. The
    last of them is compared with the one of the saved run, where its content does not depend on chance.

    Args:
        data: An iterable of batches.
        done: How many were done; at least 1.
        digest: The `batch_digest` of the last of them, or None.
        name: What the data are called, for messages.

    Raises:
        MismatchError: if there are fewer batches, or the last one is another one.
    """
    skipped = 0
    if isinstance(data, list | tuple):
        skipped = max(done - 2, 0)
        iterator: Iterator[Any] = islice(data, skipped, None)
    elif draws_its_order(data):
        skipped = max(done - 2, 0)
        iterator = iter(without(data, skipped))
    else:
        iterator = iter(data)
    batch, before = None, chance(data)
    for count in range(skipped, done):
        if count == done - 1:
            before = chance(data)
        try:
            batch = next(iterator)
        except StopIteration:
            raise MismatchError(
                f"data.{name} has {count} batches, and {done} were done when the run was saved.\n"
                f"Fix: resume with the same data."
            ) from None
    after = chance(data)
    if before[0] != after[0] and getattr(data, "num_workers", 0) > 0:
        raise NotResumableError(
            f"The sampler of data.{name} draws from the global random generators while its workers run ahead, so the "
            f"order cannot be repeated.\n"
            f"Fix: let it draw all when an epoch begins, or from a generator of its own."
        )
    if digest is not None and before == after and batch_digest(batch) not in (digest, None):
        raise MismatchError(
            f"Batch {done} of data.{name} differs from that of the saved run, so the epoch cannot go on.\n"
            f"Fix: resume with the same data; let their order depend on nothing but the random generators of Python, "
            f"NumPy and torch, or on one that the loader holds; or give the loader state_dict and load_state_dict."
        )
    return iterator


def draws_its_order(data: Any) -> bool:
    """Whether a loader is one whose order can be drawn without loading anything, with the same result.

    With workers it cannot: they have random generators of their own, which go on from batch to batch.
    """
    return (
        type(data) is DataLoader
        and data.num_workers == 0
        and data.batch_sampler is not None
        and not isinstance(data.dataset, IterableDataset)
        and not has_state(data.dataset)  # it may count what is loaded
    )


def without(loader: DataLoader[Any], skipped: int) -> DataLoader[Any]:
    """The loader without its first batches, for one epoch. It draws the same random numbers in the same order."""
    return DataLoader(
        loader.dataset,
        batch_sampler=Rest(loader.batch_sampler, skipped),  # type: ignore[arg-type]
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        generator=loader.generator,
    )


class Rest(Iterable[Any]):
    """An iterable without its first items."""

    def __init__(self, whole: Iterable[Any], skipped: int) -> None:
        self.whole, self.skipped = whole, skipped

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.whole), self.skipped, None)


def chance(data: Any) -> tuple[Any, Any]:
    """What changes whenever a random generator is used: a global one, or one of the data's own."""
    state = RandomState([data])
    numpy = (bytes(state.numpy[1]), *state.numpy[2:]) if state.numpy is not None else None
    loaders = [bytes(s.numpy()) if isinstance(s, torch.Tensor) else repr(s) for _, s in state.own.values()]
    return (state.python, numpy, bytes(state.torch.numpy())), loaders
