"""The manifest of a checkpoint: what it is, and a digest of each of its files. Written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from treadle.errors import CheckpointError, DamagedCheckpointError

from treadle_checkpoint.errors import NoCheckpointError

#: The file in the folder of a checkpoint.
MANIFEST = "manifest.json"

#: The version of what is in a checkpoint and how.
FORMAT = 2


def write_manifest(folder: Path, content: dict[str, Any], digests: Mapping[str, str]) -> None:
    """Write the manifest of a folder, with the size and digest of every file in it.

    Args:
        folder: The folder of the checkpoint, with all its files.
        content: What else the manifest holds; anything that JSON can hold.
        digests: The digests of the contents of files of tensors, by name: weights are digested once, while they are
            written, and once while they are read. All other files are digested as they are.
    """
    files: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.iterdir()):
        if file.name != MANIFEST:
            kind, sha256 = ("content", digests[file.name]) if file.name in digests else ("sha256", digest(file))
            files[file.name] = {"bytes": file.stat().st_size, kind: sha256}
    manifest = {"format": FORMAT, **content, "files": files}
    manifest["sha256"] = manifest_digest(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        NoCheckpointError: if there is no such folder, or it was never a checkpoint.
        DamagedCheckpointError: if it cannot be read.
        CheckpointError: if it is of another version.
    """
    file = folder / MANIFEST
    if not folder.is_dir() or (not file.exists() and not folder.name.startswith("checkpoint_")):
        raise NoCheckpointError(
            f"There is no checkpoint at {folder}.\nFix: pass the path of one that a Checkpointer or save_run made."
        )
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        sha256 = manifest.pop("sha256")
        if sha256 != manifest_digest(manifest):
            raise ValueError("its content is not what was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpointError(f"{file} is damaged ({error}).\nFix: load another checkpoint.") from error
    if manifest["format"] > FORMAT:
        raise CheckpointError(
            f"{folder} has the format {manifest['format']}, and this version of treadle-checkpoint knows {FORMAT}.\n"
            f"Fix: upgrade it:\n    pip install -U treadle-checkpoint"
        )
    if manifest["format"] < FORMAT:
        raise CheckpointError(
            f"{folder} has the format {manifest['format']}, and this version of treadle-checkpoint knows {FORMAT}.\n"
            f"Fix: install the version that wrote it, or load the model alone:\n"
            f"    load_model(learner.model, {str(folder / 'model.safetensors')!r})"
        )
    return manifest


def verify(folder: Path, manifest: dict[str, Any], names: Iterable[str] | None = None) -> None:
    """Compare the files of a checkpoint with its manifest; the contents of tensors are compared by `read_tensors`.

    Args:
        names: The files to look at. Default: all.

    Raises:
        DamagedCheckpointError: naming the first file that is missing, cut off or changed.
    """
    for name in manifest["files"] if names is None else names:
        file, written = folder / name, manifest["files"].get(name)
        if written is None or not file.is_file():
            raise DamagedCheckpointError(f"{file} is missing.\nFix: load another checkpoint.")
        if file.stat().st_size != written["bytes"]:
            raise DamagedCheckpointError(
                f"{file} is damaged: it has {file.stat().st_size} bytes, and {written['bytes']} were written.\n"
                f"Fix: load another checkpoint."
            )
        if "sha256" in written and digest(file) != written["sha256"]:
            raise DamagedCheckpointError(
                f"{file} is damaged: its content is not what was written.\nFix: load another checkpoint."
            )


def digest(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def manifest_digest(manifest: dict[str, Any]) -> str:
    """The SHA-256 of a manifest without the entry for it."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
