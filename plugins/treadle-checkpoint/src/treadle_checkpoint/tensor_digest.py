"""The digest of tensors: what says whether a file holds what was written, and whether two models are the same.

To hash every byte would take longer than to write it. So the words of 64 bits of a large tensor are laid out in
squares, and the sums of their rows and columns are hashed in their place: damage passes only where it leaves all of
these sums as they were, for which at least four words must be changed, at the corners of a rectangle and by amounts
that cancel out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch

#: How a digest begins whose large tensors were summed first; one without it is of all bytes, as older versions wrote.
SUMS = "sums:"

#: The words in a side of a square, and how many are summed at once: as many as a cache holds.
SIDE, AT_ONCE = 64, 1 << 17

#: The bytes in a square.
SQUARE = 8 * SIDE * SIDE


def digest(tensors: Mapping[str, torch.Tensor], notes: Any, *, like: str = SUMS) -> str:
    """A digest of the notes, and of names, types, shapes and contents, whatever the order of the names.

    Args:
        like: A digest of the same kind. Default: of the kind that is written now.

    Example:
        >>> large = {"weight": torch.zeros(100, 100)}
        >>> before = digest(large, None)
        >>> large["weight"][3, 3] = 1e-9
        >>> before == digest(large, None)
        False
    """
    sha, sums = hashlib.sha256(json.dumps(notes, sort_keys=True, allow_nan=False).encode()), like.startswith(SUMS)
    for name in sorted(tensors):
        tensor = on_cpu(tensors[name])
        sha.update(f'[{json.dumps(name)}, "{tensor.dtype}", {list(tensor.shape)}]'.encode())  # as JSON
        if not tensor.numel():
            continue
        flat = tensor.reshape(-1).view(torch.uint8)
        squared = flat.numel() // SQUARE * SQUARE if sums else 0
        if squared:
            feed_sums(sha, flat[:squared])
            flat = flat[squared:]
        sha.update(flat.numpy().data)
    return (SUMS if sums else "") + sha.hexdigest()


def feed_sums(sha: Any, flat: torch.Tensor) -> None:
    """Add the sums of the rows and columns of squares of words to a digest; they wrap around, so none is rounded."""
    if flat.data_ptr() % 8:
        flat = flat.clone()
    words = flat.view(torch.int64)
    for start in range(0, words.numel(), AT_ONCE):
        squares = words[start : start + AT_ONCE].view(-1, SIDE, SIDE)
        sha.update(squares.sum(2).numpy().data)
        sha.update(squares.sum(1).numpy().data)


def on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as it is written."""
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
