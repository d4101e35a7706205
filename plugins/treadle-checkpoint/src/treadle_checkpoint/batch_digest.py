"""A digest of a batch, to see that a resumed run gets the batches that the saved one got."""

from __future__ import annotations

import hashlib
from typing import Any

import torch


def batch_digest(batch: Any) -> str | None:
    """The digest of a batch, however nested; None if it holds something whose content cannot be read.

    Example:
        >>> batch = torch.ones(2), [torch.zeros(2)]
        >>> batch_digest(batch) == batch_digest((torch.ones(2), [torch.zeros(2)]))
        True
        >>> batch_digest(object()) is None
        True
    """
    sha = hashlib.sha256()
    return sha.hexdigest() if feed(sha, batch) else None


def feed(sha: Any, value: Any) -> bool:
    """Add a value to a digest; whether that was possible."""
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_quantized:
            return False
        flat = value.detach().cpu().contiguous().reshape(-1)
        sha.update(f"{value.dtype}{tuple(value.shape)}".encode())
        if flat.numel():
            sha.update(flat.resolve_conj().resolve_neg().view(torch.uint8).numpy().data)
        return True
    if isinstance(value, tuple | list):
        sha.update(f"[{len(value)}".encode())
        return all(feed(sha, item) for item in value)
    if isinstance(value, dict):
        sha.update(f"{{{len(value)}".encode())
        return all(feed(sha, part) for item in value.items() for part in item)
    if type(value).__module__ == "numpy" and getattr(value, "dtype", None) is not None and not value.dtype.hasobject:
        sha.update(f"{value.dtype}{value.shape}".encode())
        sha.update(value.tobytes())
        return True
    if value is None or isinstance(value, bool | int | float | str | bytes):
        sha.update(repr(value).encode())
        return True
    return False
