"""The share of a process: of a loader's data set, of a loader's batches, or of any batches."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, IterableDataset
from treadle.authoring import has_state, length_of
from treadle.errors import DataError

from treadle_distributed.data.alike import drawn_alike, order_of
from treadle_distributed.data.facts import digest, digest_of
from treadle_distributed.data.rounds import rounds, turns
from treadle_distributed.data.rows import divided, rows_of


class Share:
    """What every kind of share has in common.

    Args:
        rank: The number of this process.
        size: How many processes there are.
        training: Whether all processes must get equally many rows.
        name: What the data are called, for messages.

    Attributes:
        seed: What is drawn in the epoch; equal in all processes.
        digest: Of what all processes must have seen alike: the order, or the first round.
    """

    def __init__(self, rank: int, size: int, *, training: bool, name: str) -> None:
        self.rank, self.size, self.training, self.name = rank, size, training, name
        self.seed, self.digest = 0, ""

    def number(self, whole: int) -> int:
        """How many of so many items this process gets."""
        return -(-whole // self.size) if self.training else max(-(-(whole - self.rank) // self.size), 0)


class RowShare(Share):
    """The batches of indices that this process loads of a loader that makes batches of a sampler's order.

    Where the loader drops a last batch, the rows of a last round that is not full are left out; else rows are repeated.

    Args:
        batches: The loader's own.
    """

    def __init__(self, batches: BatchSampler, *shared: Any, **settings: Any) -> None:
        super().__init__(*shared, **settings)
        self._batches = batches

    def __len__(self) -> int:
        rows, most = len(self._batches.sampler), self._batches.batch_size  # type: ignore[arg-type]
        return rows // self.size // most if self._batches.drop_last else -(-self.number(rows) // most)

    def __iter__(self) -> Iterator[list[Any]]:
        whole = Seen(order_of(self._batches.sampler, self.seed), self)
        most, drop = self._batches.batch_size, self._batches.drop_last
        mine = turns(whole, self.rank, self.size, full=drop)
        while batch := list(islice(mine, most)):
            if len(batch) == most or not drop:
                yield batch


class BatchShare(Share):
    """The batches of indices that this process loads of a loader, every so many of its batches one.

    In training the indices of a last round that is not full are divided anew.

    Args:
        batches: The loader's own.
    """

    def __init__(self, batches: Any, *shared: Any, **settings: Any) -> None:
        super().__init__(*shared, **settings)
        self._batches = batches

    def __len__(self) -> int:
        return self.number(len(self._batches))

    def __iter__(self) -> Iterator[list[Any]]:
        for group, _ in rounds(Seen(order_of(self._batches, self.seed), self), self.size):
            if self.training and len(group) < self.size:
                rows = [row for batch in group for row in batch]
                yield [rows[(self.rank + i * self.size) % len(rows)] for i in range(self.number(len(rows)))]
            elif self.rank < len(group):
                yield group[self.rank]


class IterableShare(Share):
    """The batches that this process takes of any batches, every so many of them one.

    In training the rows of the last round are divided anew, unless all of its batches have equally many.

    Args:
        batches: The data.

    Attributes:
        drawn: How many batches the data have given in the epoch, and
        exhausted: whether these are all.
    """

    def __init__(self, batches: Any, *shared: Any, **settings: Any) -> None:
        super().__init__(*shared, **settings)
        self.batches = batches
        self.drawn, self.exhausted = 0, False

    def __len__(self) -> int:
        length = length_of(self.batches)
        if length is None:
            raise TypeError(f"{type(self.batches).__name__} does not know its length")
        return self.number(length)

    def __iter__(self) -> Iterator[Any]:
        self.digest = ""
        for group, last in rounds(self._counted(), self.size):
            self.digest = self.digest or digest_of(group[0])
            full = len(group) == self.size
            if self.training and last and not (full and len(set(map(rows_of, group))) == 1):
                yield divided(group, self.rank, self.size, self.name)
            elif self.rank < len(group):
                yield group[self.rank]

    def _counted(self) -> Iterator[Any]:
        self.drawn, self.exhausted = 0, False
        for batch in drawn_alike(self.batches, self.seed):
            self.drawn += 1
            yield batch
        self.exhausted = True


class Seen:
    """An order, of which the share notes a digest: of all that was drawn before the first of it is used."""

    def __init__(self, order: Iterator[Any], share: Share) -> None:
        self.order, self.share = order, share

    def __iter__(self) -> Iterator[Any]:
        first = list(islice(self.order, 4096))
        self.share.digest = digest(repr(first))
        yield from first
        yield from self.order


def share_of(data: Any, rank: int, size: int, *, training: bool, name: str) -> tuple[Any, Share | None]:
    """What a process goes over in place of some data, and the share in it; none where the data are divided already.

    Raises:
        DataError: if the data cannot be divided.
    """
    shared, settings = (rank, size), {"training": training, "name": name}
    if not isinstance(data, DataLoader):
        if has_state(data):
            raise undividable(data, name, "keeps a state of its own, which is that of the undivided data")
        share: Share = IterableShare(data, *shared, **settings)
        return share, share
    sampler = distributed_sampler(data)
    if sampler is not None:
        check_sampler(sampler, data, rank, size, training=training, name=name)
        return data, None
    if has_state(data):
        raise undividable(data, name, "keeps a state of its own, which is that of the undivided data")
    by_index = data.batch_sampler is not None and not isinstance(data.dataset, IterableDataset)
    if not by_index or type(data).__iter__ is not DataLoader.__iter__:
        share = IterableShare(data, *shared, **settings)
        return share, share
    if training and type(data.batch_sampler) is BatchSampler:
        share = RowShare(data.batch_sampler, *shared, **settings)
    else:
        share = BatchShare(data.batch_sampler, *shared, **settings)
    loader = copy.copy(data)  # what is not replaced is that of the user's loader, its sampler and generator too
    vars(loader).update(batch_sampler=share, _iterator=None)
    return loader, share


def distributed_sampler(loader: DataLoader[Any]) -> Any:
    """The part of a loader that divides the data already; None if nothing does."""
    for part in (loader.sampler, loader.batch_sampler, getattr(loader.batch_sampler, "sampler", None)):
        if hasattr(part, "num_replicas") and hasattr(part, "rank"):
            return part
    return None


def check_sampler(sampler: Any, loader: Any, rank: int, size: int, *, training: bool, name: str) -> None:
    """Refuse a sampler that divides the data otherwise than this run needs them divided."""
    kind = type(sampler).__name__
    if (sampler.num_replicas, sampler.rank) != (size, rank):
        raise DataError(
            f"The {kind} of {name} is process {sampler.rank} of {sampler.num_replicas}, and this one is {rank} of "
            f"{size}.\nFix: make it when the process group is there, or leave it out: the rows are divided anyway."
        )
    if not training and len(sampler) * size != len(loader.dataset):
        raise DataError(
            f"The {kind} of {name} gives {len(sampler)} rows to each of {size} processes, and there are "
            f"{len(loader.dataset)}, so that some would be measured twice, or not at all.\n"
            f"Fix: leave it out: the batches are divided anyway, and every row is measured once."
        )


def undividable(data: Any, name: str, why: str) -> DataError:
    """The error for data that cannot be divided."""
    return DataError(
        f"{name}, a {type(data).__name__}, cannot be divided between processes: it {why}.\n"
        f"Fix: pass a DataLoader, or a list or another iterable of batches without state_dict."
    )
