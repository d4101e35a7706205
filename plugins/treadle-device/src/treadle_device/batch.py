"""`map_tensors`: apply a function to every tensor of a nested batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence


def map_tensors(f: Callable[[Any], Any], batch: Any) -> Any:
    """The same batch with every tensor replaced by what `f` makes of it.

    Goes through tuples, lists, named tuples, mappings, dataclasses and packed sequences, which
    come back as new ones of their type. Other objects go to `f` if they have a method `to`, as
    batches of graphs have; everything else, such as numbers and strings, stays as it is.

    Example:
        >>> map_tensors(lambda t: t.double(), {"x": torch.ones(2), "names": ["a", "b"]})
        {'x': tensor([1., 1.], dtype=torch.float64), 'names': ['a', 'b']}
    """
    if isinstance(batch, torch.Tensor):
        return f(batch)
    if isinstance(batch, PackedSequence):
        return _packed(f, batch)
    if isinstance(batch, tuple | list):
        items = [map_tensors(f, item) for item in batch]
        if type(batch) is list:
            return items
        return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)
    if isinstance(batch, Mapping):
        return _mapping(f, batch)
    if is_dataclass(batch) and not isinstance(batch, type):
        moved = copy.copy(batch)
        for field in fields(batch):
            object.__setattr__(moved, field.name, map_tensors(f, getattr(batch, field.name)))
        return moved
    return f(batch) if callable(getattr(batch, "to", None)) else batch


def _mapping(f: Callable[[Any], Any], batch: Mapping[Any, Any]) -> Mapping[Any, Any]:
    values = {key: map_tensors(f, value) for key, value in batch.items()}
    if type(batch) is dict:
        return values
    if isinstance(batch, MutableMapping):  # a copy keeps its other attributes, such as a default factory
        moved = copy.copy(batch)
        moved.update(values)
        return moved
    return type(batch)(values)  # type: ignore[call-arg]


def _packed(f: Callable[[Any], Any], batch: PackedSequence) -> PackedSequence:
    """A packed sequence, whose batch sizes stay on the CPU and whose indices stay integers."""
    data = f(batch.data)

    def moved(indices: torch.Tensor | None) -> torch.Tensor | None:
        return None if indices is None else indices.to(data.device)

    return PackedSequence(data, batch.batch_sizes, moved(batch.sorted_indices), moved(batch.unsorted_indices))
