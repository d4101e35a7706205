"""The manifest of a checkpoint: what it is, and a digest of each of its files. Written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from treadle_checkpoint.errors import CheckpointError, DamagedCheckpointError, NoCheckpointError

#: The file in the folder of a checkpoint.
MANIFEST = "manifest.json"

#: The version of what is in a checkpoint and how.
FORMAT = 1


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write the manifest of a folder, with the size and digest of every file in it.

    Args:
        folder: The folder of the checkpoint, with all its files.
        content: What else the manifest says; anything that JSON can hold.
    """
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": digest(file)}
        for file in sorted(folder.iterdir())
        if file.name != MANIFEST
    }
    said = {"format": FORMAT, **content, "files": files}
    said["sha256"] = own_digest(said)
    (folder / MANIFEST).write_text(json.dumps(said, indent=1, allow_nan=False), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        NoCheckpointError: if there is no such folder, or it was never a checkpoint.
        DamagedCheckpointError: if it cannot be read.
        CheckpointError: if it is of a newer version.
    """
    file = folder / MANIFEST
    if not folder.is_dir() or (not file.exists() and not folder.name.startswith("checkpoint_")):
        raise NoCheckpointError(f"There is no checkpoint at {folder}. Pass what a Checkpointer or save_run made.")
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        sha256 = said.pop("sha256")
        if sha256 != own_digest(said):
            raise ValueError("its content is not what was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpointError(f"{file} is damaged ({error}). Load another checkpoint.") from error
    if said["format"] != FORMAT:
        raise CheckpointError(
            f"{folder} has the format {said['format']}, and this version of treadle-checkpoint knows {FORMAT}. "
            f"Upgrade it: pip install -U treadle-checkpoint"
        )
    manifest: dict[str, Any] = said
    return manifest


def verify(folder: Path, manifest: dict[str, Any], names: Iterable[str] | None = None) -> None:
    """Compare the files of a checkpoint with its manifest.

    Args:
        folder: The folder of the checkpoint.
        manifest: Its manifest.
        names: The files to look at. Default: all.

    Raises:
        DamagedCheckpointError: naming the first file that is missing, cut off or changed.
    """
    for name in manifest["files"] if names is None else names:
        file, said = folder / name, manifest["files"].get(name)
        if said is None or not file.is_file():
            raise DamagedCheckpointError(f"{file} is missing. Load another checkpoint.")
        if file.stat().st_size != said["bytes"]:
            raise DamagedCheckpointError(
                f"{file} is damaged: it has {file.stat().st_size} bytes, and {said['bytes']} were written. "
                f"Load another checkpoint."
            )
        if digest(file) != said["sha256"]:
            raise DamagedCheckpointError(
                f"{file} is damaged: its content is not what was written. Load another checkpoint."
            )


def digest(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def own_digest(said: dict[str, Any]) -> str:
    """The SHA-256 of a manifest without its own."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
