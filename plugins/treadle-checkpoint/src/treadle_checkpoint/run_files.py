"""The files of a checkpoint of a run: how they are written, and how they are read."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from treadle.authoring import RunState
from treadle.errors import CheckpointError, DamagedCheckpointError

from treadle_checkpoint.durable import whole_folder
from treadle_checkpoint.errors import NoCheckpointError
from treadle_checkpoint.folder import numbered
from treadle_checkpoint.manifest import MANIFEST, content_digest, entry, read_manifest, verify, write_manifest
from treadle_checkpoint.model_file import MODEL, read_model_state, write_model_state
from treadle_checkpoint.place import Place, place_of
from treadle_checkpoint.tensor_file import read_tensors, write_tensors

#: The files of all that is not the model.
TENSORS, PLAIN = "state.safetensors", "state.json"


def write(path: Path, state: RunState, place: Place, about: dict[str, Any], *, whole_run: bool = True) -> None:
    """Write a checkpoint: a folder that is on the disk whole, or not at all.

    Args:
        path: The folder, which must not be there.
        about: What else the manifest holds.
        whole_run: Whether to write more than the model. Default: yes.
    """
    versions = {"torch": str(torch.__version__), "python": platform.python_version()}
    with whole_folder(path) as folder:
        digests = {MODEL: write_model_state(folder / MODEL, state.model)}
        if whole_run:
            digests[TENSORS] = write_tensors(folder / TENSORS, state.tensors)
            plain = json.dumps({"place": asdict(place), **state.parts}, allow_nan=False)
            (folder / PLAIN).write_text(plain, encoding="utf-8")
        write_manifest(folder, {**about, "whole_run": whole_run, "versions": versions}, digests)


def read_newest(path: Path, *, fall_back: bool) -> tuple[RunState, Place, Path]:
    """Read a checkpoint, or the newest one in a folder of them; its state, its place and its path."""
    if path.is_dir() and (path / MANIFEST).exists():
        return *read(path), path
    entries = [entry for _, entry in numbered(path)]
    if not entries:
        raise NoCheckpointError(
            f"There is no checkpoint at {path}, nor in it.\n"
            f"Fix: pass the folder of a Checkpointer, or the path of a checkpoint that save_run made."
        )
    for i in reversed(range(len(entries))):
        try:
            return *read(entries[i]), entries[i]
        except DamagedCheckpointError as error:
            if not i:
                error.add_note("There is no checkpoint before it.")
                raise
            what = str(error).partition("\n")[0]
            if not fall_back:
                raise DamagedCheckpointError(
                    f"{what}\nFix: resume from the one before it, or pass fall_back=True:\n"
                    f"    resume(learner, {str(entries[i - 1])!r})"
                ) from error
            logger.warning(f"{what} Resuming from {entries[i - 1].name}.")
    raise AssertionError


def read(path: Path) -> tuple[RunState, Place]:
    """Read and verify one checkpoint.

    Raises:
        DamagedCheckpointError: naming the file that is damaged.
        CheckpointError: if it holds the model alone.
    """
    manifest = read_manifest(path)
    if not entry(path, manifest, "whole_run", lambda value: isinstance(value, bool)):
        raise CheckpointError(
            f"{path} holds the model alone.\nFix: load that:\n    load_model(learner.model, {str(path)!r})"
        )
    verify(path, manifest, (MODEL, TENSORS, PLAIN))
    model = read_model_state(path / MODEL, content_digest(path, manifest, MODEL))
    tensors, _ = read_tensors(path / TENSORS, content_digest(path, manifest, TENSORS))
    try:
        plain = json.loads((path / PLAIN).read_text(encoding="utf-8"))
        place = plain.pop("place")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedCheckpointError(
            f"{path / PLAIN} is damaged ({error!r}).\nFix: load another checkpoint."
        ) from error
    return RunState(model, plain, tensors), place_of(place, path / PLAIN)
