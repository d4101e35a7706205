"""`map_tensors`: reach the tensors of a nested batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence


def map_tensors(f: Callable[[torch.Tensor], Any], batch: Any) -> Any:
    """The same nesting of tuples, lists and mappings, with every tensor replaced by `f` of it.

    Example:
        >>> map_tensors(torch.Tensor.tolist, (torch.ones(2), {"name": "a", "x": torch.zeros(1)}))
        ([1.0, 1.0], {'name': 'a', 'x': [0.0]})
    """
    if isinstance(batch, torch.Tensor):
        return f(batch)
    if isinstance(batch, (tuple, list)) and not isinstance(batch, PackedSequence):
        items = [map_tensors(f, item) for item in batch]
        return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)
    if isinstance(batch, Mapping):
        return {name: map_tensors(f, item) for name, item in batch.items()}
    return batch


def others(batch: Any) -> Iterator[Any]:
    """The parts of a nested batch that `map_tensors` does not reach, apart from plain values."""
    if isinstance(batch, (tuple, list, Mapping)) and not isinstance(batch, PackedSequence):
        for item in batch.values() if isinstance(batch, Mapping) else batch:
            yield from others(item)
    elif not isinstance(batch, (torch.Tensor, str, bytes, int, float, complex, type(None))):
        yield batch


def tensors(batch: Any) -> Iterator[torch.Tensor]:
    """Every tensor of a nested batch."""
    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, (tuple, list, Mapping)):
        for item in batch.values() if isinstance(batch, Mapping) else batch:
            yield from tensors(item)


def finite(batch: Any) -> bool:
    """Whether all numbers of a nested batch are finite."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors(batch))
