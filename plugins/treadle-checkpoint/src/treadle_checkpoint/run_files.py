"""The files of a checkpoint of a run: how they are written, and how they are read."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from treadle.authoring import RunState, flatten, unflatten
from treadle.errors import CheckpointError, DamagedCheckpointError

from treadle_checkpoint.durable import flush_all, whole_folder
from treadle_checkpoint.errors import NoCheckpointError, damaged
from treadle_checkpoint.folder import numbered
from treadle_checkpoint.manifest import (
    MANIFEST,
    content_digest,
    description,
    entry,
    is_count,
    read_manifest,
    replace_manifest,
    verify,
    write_manifest,
)
from treadle_checkpoint.model_file import MODEL, TRAINED, read_model_state, trained_state, write_model_state
from treadle_checkpoint.place import Place, place_of
from treadle_checkpoint.tensor_file import read_tensors, write_tensors

#: The files of all that is not the model.
TENSORS, PLAIN = "state.safetensors", "state.json"

#: The files of the same, as it was when the fit had ended: after the validation that followed.
FINAL_TENSORS, FINAL_PLAIN = "final.safetensors", "final.json"


def write(
    path: Path,
    state: RunState,
    place: Place,
    about: Callable[[str], dict[str, Any]],
    replaced: Mapping[str, torch.Tensor],
    *,
    whole_run: bool = True,
) -> None:
    """Write a checkpoint: a folder that is on the disk whole, or not at all.

    Args:
        path: The folder, which must not be there.
        about: What else the manifest holds, for a model of this digest.
        replaced: What validation runs with in place of what is in the model; see `replaced_in_validation`.
        whole_run: Whether to write more than the model. Default: yes.
    """
    versions = {"torch": str(torch.__version__), "python": platform.python_version()}
    with whole_folder(path) as folder:
        digests = {MODEL: write_model_state(folder / MODEL, {**state.model, **replaced})}
        if whole_run:
            if replaced:
                digests[TRAINED] = write_model_state(folder / TRAINED, trained_state(state.model, replaced))
            digests[TENSORS] = write_state(folder / TENSORS, folder / PLAIN, state, place)
        write_manifest(folder, {**about(digests[MODEL]), "whole_run": whole_run, "versions": versions}, digests)


def write_state(tensors: Path, plain: Path, state: RunState, place: Place) -> str:
    """Write all of a state that is not the model; returns the digest of its tensors."""
    held = dict(state.tensors)
    where = {**vars(place), "ended": flatten(place.ended, "place/ended", held)}
    plain.write_text(json.dumps({"place": where, **state.parts}, allow_nan=False), encoding="utf-8")
    return write_tensors(tensors, held)


def finish(path: Path, state: RunState, place: Place) -> None:
    """Add to a checkpoint what the state was when the fit had ended, with the same model.

    It holds from the moment on in which the manifest is replaced; whoever is killed before that leaves two files
    that nobody reads.
    """
    digests = {FINAL_TENSORS: write_state(path / FINAL_TENSORS, path / FINAL_PLAIN, state, place)}
    manifest = read_manifest(path)
    flush_all(path / FINAL_TENSORS, path / FINAL_PLAIN)
    for name in (FINAL_TENSORS, FINAL_PLAIN):
        manifest["files"][name] = description(path / name, digests.get(name))
    replace_manifest(path, manifest)


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
    tensors_file, plain_file = TENSORS, PLAIN
    if {FINAL_TENSORS, FINAL_PLAIN} & manifest["files"].keys():
        read_tensors(path / TENSORS, content_digest(path, manifest, TENSORS))  # every file is verified
        tensors_file, plain_file = FINAL_TENSORS, FINAL_PLAIN
        verify(path, manifest, (tensors_file, plain_file))
    model = read_model_state(path / MODEL, content_digest(path, manifest, MODEL))
    if TRAINED in manifest["files"]:
        verify(path, manifest, (TRAINED,))
        model |= read_model_state(path / TRAINED, content_digest(path, manifest, TRAINED))
    tensors, _ = read_tensors(path / tensors_file, content_digest(path, manifest, tensors_file))
    try:
        plain = json.loads((path / plain_file).read_text(encoding="utf-8"))
        place = plain.pop("place")
        place = {**place, "ended": unflatten(place.get("ended"), tensors)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path / plain_file, repr(error)) from error
    progress = plain.get("progress")
    if not isinstance(progress, dict) or not all(map(is_count, progress.values())):
        raise damaged(path / plain_file, "it has no progress of a run")
    return RunState(model, plain, tensors), place_of(place, path / plain_file)
