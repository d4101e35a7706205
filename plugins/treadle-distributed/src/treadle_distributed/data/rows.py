"""The rows of batches: concatenated, and divided anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from treadle.errors import DataError


def divided(batches: Sequence[Any], rank: int, size: int, name: str) -> Any:
    """The part of a process in the rows of some batches; all parts have equally many, for which a row may be repeated.

    Raises:
        DataError: if they are not made of tensors whose rows can be combined.

    Example:
        >>> batches = [{"x": torch.tensor([1, 2])}, {"x": torch.tensor([3])}]
        >>> divided(batches, 0, 2, "data"), divided(batches, 1, 2, "data")
        ({'x': tensor([1, 3])}, {'x': tensor([2, 1])})
    """
    try:
        tensors = [torch.cat(parts) for parts in zip(*map(tensors_of, batches), strict=True)]
        (rows,) = {len(tensor) for tensor in tensors}
    except (TypeError, ValueError, RuntimeError, IndexError):
        raise DataError(
            f"The last batches of {name} have unequal numbers of rows, or there are fewer than processes, and they "
            f"cannot be divided anew: that takes batches of tensors with as many rows each, in tuples, lists and "
            f"mappings.\nFix: let a DataLoader make the batches, which divides the rows of its data set; or leave out "
            f"the last batches, so that there are as many for each of the {size} processes."
        ) from None
    most = -(-rows // size)
    places = [(rank + i * size) % rows for i in range(most)]
    return with_tensors(batches[0], iter([tensor[places] for tensor in tensors]))


def rows_of(batch: Any) -> int | None:
    """The number of rows of a batch of tensors; None where it has none, or several numbers."""
    try:
        (rows,) = {len(tensor) for tensor in tensors_of(batch)}
    except (TypeError, ValueError):
        return None
    return rows


def tensors_of(batch: Any) -> list[torch.Tensor]:
    """All tensors of a batch, in order.

    Raises:
        TypeError: if there is anything else in it.
    """
    if isinstance(batch, torch.Tensor):
        return [batch]
    if isinstance(batch, Mapping):
        return [tensor for part in batch.values() for tensor in tensors_of(part)]
    if isinstance(batch, (tuple, list)):
        return [tensor for part in batch for tensor in tensors_of(part)]
    raise TypeError(f"{type(batch).__name__} has no rows")


def with_tensors(batch: Any, tensors: Any) -> Any:
    """A batch of this form with other tensors."""
    if isinstance(batch, torch.Tensor):
        return next(tensors)
    if isinstance(batch, Mapping):
        return {name: with_tensors(part, tensors) for name, part in batch.items()}
    parts = [with_tensors(part, tensors) for part in batch]
    return type(batch)._make(parts) if hasattr(batch, "_make") else type(batch)(parts)
