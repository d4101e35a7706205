"""The manifest of a checkpoint: what it is, and a digest of each of its files. Written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from treadle.errors import CheckpointError, DamagedCheckpointError

from treadle_checkpoint.durable import whole_file
from treadle_checkpoint.errors import NoCheckpointError, damaged
from treadle_checkpoint.tensor_file import unreadable

#: The file in the folder of a checkpoint.
MANIFEST = "manifest.json"

#: The version of what is in a checkpoint and how, and the oldest that can be read: with digests of all bytes.
FORMAT, OLDEST = 4, 3


def write_manifest(folder: Path, content: dict[str, Any], digests: Mapping[str, str]) -> None:
    """Write the manifest of a folder, with the size and digest of every file in it.

    Args:
        folder: The folder of the checkpoint, with all its files.
        content: What else the manifest holds; anything that JSON can hold.
        digests: The digests of the contents of files of tensors, by name: weights are digested once, while they are
            written, and once while they are read. All other files are digested as they are.
    """
    names = [file.name for file in sorted(folder.iterdir()) if file.name != MANIFEST]
    files = {name: description(folder / name, digests.get(name)) for name in names}
    (folder / MANIFEST).write_text(as_text({"format": FORMAT, **content, "files": files}), encoding="utf-8")


def replace_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Put another manifest in the place of that of a checkpoint, in one step."""
    with whole_file(folder / MANIFEST) as path:
        path.write_text(as_text(manifest), encoding="utf-8")


def as_text(manifest: dict[str, Any]) -> str:
    """A manifest, with its own digest."""
    return json.dumps({**manifest, "sha256": manifest_digest(manifest)}, indent=1, allow_nan=False)


def description(file: Path, content: str | None) -> dict[str, Any]:
    """What the manifest says about a file.

    Args:
        content: The digest of the tensors in it, or None for a file that is digested as it is.
    """
    kind, sha256 = ("sha256", digest(file)) if content is None else ("content", content)
    return {"bytes": file.stat().st_size, kind: sha256}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint.

    Raises:
        NoCheckpointError: if there is no such folder, or it was never a checkpoint.
        DamagedCheckpointError: if it cannot be read.
        CheckpointError: if it is of another version.
    """
    file = folder / MANIFEST
    try:
        never = not folder.is_dir() or (not file.exists() and not folder.name.startswith("checkpoint_"))
    except OSError as error:
        raise unreadable(file, error) from error
    if never:
        raise NoCheckpointError(
            f"There is no checkpoint at {folder}.\nFix: pass the path of one that a Checkpointer or save_run made."
        )
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        sha256 = manifest.pop("sha256")
        if sha256 != manifest_digest(manifest):
            raise ValueError("its content is not what was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(file, str(error)) from error
    version = entry(folder, manifest, "format", is_count)
    if version > FORMAT:
        raise CheckpointError(
            f"{folder} has the format {version}, and this version of treadle-checkpoint knows {FORMAT}.\n"
            f"Fix: upgrade it:\n    pip install -U treadle-checkpoint"
        )
    if version < OLDEST:
        raise CheckpointError(
            f"{folder} has the format {version}, and this version of treadle-checkpoint knows {FORMAT}.\n"
            f"Fix: install the version that wrote it, or load the model alone:\n"
            f"    load_model(learner.model, {str(folder / 'model.safetensors')!r})"
        )
    return manifest


def entry(folder: Path, values: Any, name: str, valid: Callable[[Any], bool]) -> Any:
    """An entry of the manifest of a folder.

    Args:
        values: The manifest, or a part of it.
        valid: Whether a value is valid.

    Raises:
        DamagedCheckpointError: if the entry is missing, or has an invalid value: whoever wrote it.
    """
    if isinstance(values, Mapping) and name in values and valid(values[name]):
        return values[name]
    raise damaged(folder / MANIFEST, f"its entry {name!r} is missing or has an invalid value")


def is_count(value: Any) -> bool:
    """Whether a value is a whole number that counts something."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def is_text(value: Any) -> bool:
    """Whether a value is a text."""
    return isinstance(value, str)


def verify(folder: Path, manifest: dict[str, Any], names: Iterable[str]) -> None:
    """Compare files of a checkpoint with its manifest; the contents of tensors are compared by `read_tensors`.

    Args:
        names: The files that must be there.

    Raises:
        DamagedCheckpointError: naming the first file that is missing, cut off, changed or cannot be read.
    """
    files = entry(folder, manifest, "files", lambda value: isinstance(value, Mapping))
    for name in names:
        file = folder / name
        try:
            if name not in files or not file.is_file():
                raise DamagedCheckpointError(f"{file} is missing.\nFix: load another checkpoint.")
            written, size = entry(folder, files[name], "bytes", is_count), file.stat().st_size
            if size != written:
                raise damaged(file, f"it has {size} bytes, and {written} were written")
            if "content" not in files[name] and digest(file) != entry(folder, files[name], "sha256", is_text):
                raise damaged(file, "its content is not what was written")
        except OSError as error:
            raise unreadable(file, error) from error


def content_digest(folder: Path, manifest: dict[str, Any], name: str) -> str:
    """The digest of the content of a file of tensors that passed `verify`."""
    sha256: str = entry(folder, manifest["files"][name], "content", is_text)
    return sha256


def digest(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def manifest_digest(manifest: dict[str, Any]) -> str:
    """The SHA-256 of a manifest without the entry for it."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
