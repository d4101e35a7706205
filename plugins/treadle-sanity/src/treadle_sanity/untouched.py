"""`untouched`: use modules and leave no trace in them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def untouched(*roots: Any) -> Iterator[None]:
    """Put modules back as they were: modes, buffers, attributes, and whatever was added to them.

    Buffers are replaced by clones meanwhile, so that a batch norm counts into those. Parameters are
    not copied: nothing but an optimizer changes them.

    Args:
        roots: Modules, with all that is in them; anything else is passed over.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with untouched(norm):
        ...     _ = norm.eval(), norm.train()(torch.ones(4, 2))
        >>> norm.training, norm.num_batches_tracked
        (True, tensor(0))
    """
    modules = list(dict.fromkeys(m for root in roots if isinstance(root, nn.Module) for m in root.modules()))
    attributes = [(module, [(k, v, contents(v)) for k, v in vars(module).items()]) for module in modules]
    buffers = [
        (module, name, buffer)
        for module in modules
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
    ]
    clones: dict[torch.Tensor, torch.Tensor] = {}
    for module, name, buffer in buffers:
        setattr(module, name, clones.setdefault(buffer, buffer.detach().clone()))
    try:
        yield
    finally:
        for module, name, buffer in buffers:
            setattr(module, name, buffer)
        for module, items in attributes:
            put_back(vars(module), items)


def contents(value: Any) -> Any:
    """A copy of what is in a container; None for anything else."""
    return value.copy() if type(value) in (list, dict, set, OrderedDict) else None


def put_back(namespace: dict[str, Any], items: list[tuple[str, Any, Any]]) -> None:
    """Give a namespace its values again, and the containers among them what was in them."""
    for name in namespace.keys() - {name for name, _, _ in items}:
        del namespace[name]
    for name, value, inside in items:
        namespace[name] = value
        if inside is not None:
            value.clear()
            value.extend(inside) if isinstance(value, list) else value.update(inside)
