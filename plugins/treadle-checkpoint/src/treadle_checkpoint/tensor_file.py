"""Tensors in a file of the safetensors format, with a digest of all that is in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from treadle_checkpoint.errors import DamagedCheckpointError, NotSaveableError

#: Where the digest and the notes stand in the file's own metadata: under one name, since the format keeps no order.
OURS = "treadle"

#: What the format can hold.
DTYPES = {
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64, torch.complex64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
}


def refuse_unsaveable(tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors of a type that the format does not know.

    Raises:
        NotSaveableError: naming the first of them.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise NotSaveableError(
                f"A checkpoint cannot hold {name}, a tensor of {tensor.dtype}. Let the state_dict that it comes from "
                f"give another type, for example torch.view_as_real of a complex tensor."
            )


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], notes: Any = None) -> None:
    """Write tensors into a file; it is neither flushed to the disk nor renamed, see `durable`.

    Args:
        path: The file.
        tensors: The tensors by name, on any device.
        notes: What is to be known about them; anything that JSON can hold. Default: nothing.

    Raises:
        NotSaveableError: for a tensor of a type that the format does not know.
    """
    own: dict[str, torch.Tensor] = {}
    held: set[int] = set()
    refuse_unsaveable(tensors)
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        if flat.untyped_storage().nbytes() != flat.nbytes or flat.data_ptr() in held:
            flat = flat.clone()  # the format wants memory of its own for each
        held.add(flat.data_ptr())
        own[name] = flat
    said = {"notes": notes, "sha256": digest(own, notes)}
    safetensors.torch.save_file(own, path, {OURS: json.dumps(said, allow_nan=False)})


def read_tensors(path: Path, *, verified: bool = False) -> tuple[dict[str, torch.Tensor], Any]:
    """The tensors of a file, on the CPU, and the notes. Files of other programs have no notes.

    Args:
        path: The file.
        verified: Whether its content is known to be what was written. Default: no.

    Raises:
        DamagedCheckpointError: if it is no such file, or its content is not what was written.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
    except SafetensorError as error:
        raise DamagedCheckpointError(
            f"{path} is damaged, or no file of tensors ({error}). Load another one."
        ) from error
    if OURS not in metadata:
        return tensors, None
    try:
        said = json.loads(metadata[OURS])
        notes, sha256 = said["notes"], said["sha256"]
    except (ValueError, KeyError, TypeError):
        sha256 = notes = None
    if sha256 is None or (not verified and sha256 != digest(tensors, notes)):
        raise DamagedCheckpointError(f"{path} is damaged: its content is not what was written. Load another one.")
    return tensors, notes


def digest(tensors: Mapping[str, torch.Tensor], notes: Any) -> str:
    """A digest of the notes, and of names, types, shapes and contents, whatever the order of the names."""
    sha = hashlib.sha256(json.dumps(notes, sort_keys=True, allow_nan=False).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        if tensor.numel():
            sha.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
