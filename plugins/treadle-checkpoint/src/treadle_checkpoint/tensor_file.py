"""Tensors in a file of the safetensors format, with a digest of all that is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, TensorSpec, safe_open, serialize_file
from treadle.authoring import refuse_unsaveable
from treadle.errors import DamagedCheckpointError

from treadle_checkpoint.tensor_digest import digest, on_cpu

#: Where the digest and the notes stand in the file's own metadata: under one name, since the format keeps no order.
METADATA = "treadle"


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], notes: Any = None) -> str:
    """Write tensors into a file; it is neither flushed to the disk nor renamed, see `durable`.

    Args:
        tensors: The tensors by name, on any device.
        notes: What is to be known about them; anything that JSON can hold. Default: nothing.

    Returns:
        The digest of the content, which stands in the file as well.

    Raises:
        NotSaveableError: for a tensor of a type that the format does not know.
    """
    refuse_unsaveable(tensors)
    written: dict[str, torch.Tensor] = {}
    addresses: set[int] = set()
    for name, tensor in tensors.items():
        copied = on_cpu(tensor)
        if copied.untyped_storage().nbytes() != copied.nbytes or copied.data_ptr() in addresses:
            copied = copied.clone()  # the format wants separate memory for each tensor
        addresses.add(copied.data_ptr())
        written[name] = copied
    sha256 = digest(written, notes)
    metadata = json.dumps({"notes": notes, "sha256": sha256}, allow_nan=False)
    serialize_file({name: spec_of(tensor) for name, tensor in written.items()}, path, {METADATA: metadata})
    return sha256


def read_tensors(path: Path, expected: str | None = None) -> tuple[dict[str, torch.Tensor], Any]:
    """The verified tensors of a file, on the CPU, and the notes. Files of other programs have no notes.

    The tensors are copies, and not the file mapped into memory: then it could neither be removed on Windows nor
    cut off by another program without ending the process.

    Args:
        expected: What `write_tensors` returned. Default: what the file itself says.

    Raises:
        DamagedCheckpointError: if it is not such a file, or its content is not what was written.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name).clone() for name in names}
    except (SafetensorError, ValueError, RuntimeError, KeyError) as error:
        raise DamagedCheckpointError(
            f"{path} is damaged, or not a file of tensors ({error}).\nFix: load another one."
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error
    # Under another name, what we wrote is a file whose name for it was damaged.
    damaged = any(text.startswith('{"notes": ') and '"sha256": ' in text for text in metadata.values())
    if expected is None and METADATA not in metadata and not damaged:
        return tensors, None
    try:
        content = json.loads(metadata[METADATA])
        notes, sha256 = content["notes"], content["sha256"]
    except (ValueError, KeyError, TypeError):
        notes = sha256 = None
    if not isinstance(sha256, str) or sha256 != digest(tensors, notes, like=sha256) or expected not in (None, sha256):
        raise DamagedCheckpointError(f"{path} is damaged: its content is not what was written.\nFix: load another one.")
    return tensors, notes


def spec_of(tensor: torch.Tensor) -> TensorSpec:
    """A tensor as the format's writer takes it: where its memory is. The one of safetensors.torch takes twice as long.

    Every machine that torch runs on keeps numbers in the order of bytes that the format has.
    """
    dtype = str(tensor.dtype).removeprefix("torch.")
    return TensorSpec(dtype=dtype, shape=tensor.shape, data_ptr=tensor.data_ptr(), data_len=tensor.nbytes)


def unreadable(path: Path, error: OSError) -> DamagedCheckpointError:
    """The error for a file that the system does not let us read."""
    return DamagedCheckpointError(
        f"{path} is damaged or cannot be read ({error.strerror or error}).\n"
        f"Fix: load another one, or allow this user to read it."
    )


def digest_of(tensors: Mapping[str, torch.Tensor], notes: Any) -> str:
    """The digest that a file of these tensors has, which are on any device; they are copied one after the other."""
    refuse_unsaveable(tensors)
    return digest(tensors, notes)
