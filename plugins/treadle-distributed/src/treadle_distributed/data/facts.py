"""`facts_of`: what is known of data before they are gone over, to compare processes by it."""

from __future__ import annotations

import marshal
from hashlib import blake2b
from typing import Any

from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset
from treadle.authoring import length_of

from treadle_distributed.data.rows import tensors_of


def facts_of(data: Any) -> dict[str, str]:
    """How long data are, by what that is called; of rows of tensors in memory also a digest of some.

    Rows of other data sets are not loaded for it, as they may be augmented at random.

    Args:
        data: A loader, or any other batches.

    Example:
        >>> facts_of(DataLoader(list(range(6)), 2))["rows"]
        '6'
        >>> facts_of(["one batch"]), facts_of(iter(["one batch"]))
        ({'batches': '1'}, {})
    """
    if not isinstance(data, DataLoader) or isinstance(data.dataset, IterableDataset):
        return {} if (length := length_of(data)) is None else {"batches": str(length)}
    rows: Any = data.dataset
    number, drawn = length_of(rows), length_of(data.sampler)
    facts = {"rows": str(number), "rows of an epoch": str(drawn)}
    if number and in_memory(rows):
        facts["a digest of some rows"] = digest_of([rows[i] for i in (0, number // 2, number - 1)])
    return facts


def in_memory(dataset: Any) -> bool:
    """Whether a data set is of tensors, and gives the same row each time."""
    if type(dataset) is Subset:
        return in_memory(dataset.dataset)
    if type(dataset) is ConcatDataset:
        return all(map(in_memory, dataset.datasets))
    return type(dataset) in (TensorDataset, list)


def digest(value: str) -> str:
    """A short digest that is the same in every process."""
    return blake2b(marshal.dumps(value, 2), digest_size=8).hexdigest()


def digest_of(batch: Any) -> str:
    """A digest of the first numbers of a batch of tensors; of others of what they are."""
    try:
        tensors = tensors_of(batch)
    except TypeError:
        return digest(type(batch).__name__)
    return digest(repr([(tuple(tensor.shape), tensor.reshape(-1)[:64].tolist()) for tensor in tensors]))
