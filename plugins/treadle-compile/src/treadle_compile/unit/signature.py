"""`signature`: what a function is compiled for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def signature(value: Any) -> Any:
    """The shapes and types of tensors, in the order in which they stand.

    Example:
        >>> import torch
        >>> signature((torch.ones(2, 3), None)) == signature((torch.zeros(2, 3), None))
        True
    """
    if isinstance(value, torch.Tensor):
        return value.shape, value.dtype, value.stride(), value.device
    if isinstance(value, Mapping):
        return tuple((name, signature(entry)) for name, entry in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(map(signature, value))
    return type(value)
