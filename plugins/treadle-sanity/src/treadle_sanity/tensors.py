"""The tensors of a nested batch, and what else is in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from treadle.authoring import map_tensors

#: What has no device.
PLAIN = (str, bytes, int, float, complex, type(None))


def tensors(batch: Any) -> list[torch.Tensor]:
    """Every tensor of a nested batch.

    Example:
        >>> tensors((torch.ones(2), {"name": "a", "x": torch.zeros(1)}))
        [tensor([1., 1.]), tensor([0.])]
    """
    found: list[torch.Tensor] = []

    def noted(part: Any) -> Any:
        if isinstance(part, torch.Tensor):
            found.append(part)
        return part

    map_tensors(noted, batch)
    return found


def finite(batch: Any) -> bool:
    """Whether all numbers of a nested batch are finite."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors(batch))


def opaque(batch: Any) -> Iterator[Any]:
    """The parts of a nested batch that may hold tensors where `map_tensors` does not look."""
    if isinstance(batch, PLAIN) or callable(getattr(batch, "to", None)):
        return
    if isinstance(batch, tuple | list | Mapping):
        for item in batch.values() if isinstance(batch, Mapping) else batch:
            yield from opaque(item)
    elif not tensors(batch):
        yield batch
