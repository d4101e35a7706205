"""The files of a checkpoint of a run: how they are written, and how they are read."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from treadle.authoring import RandomState, RunState, flatten, unflatten
from treadle.errors import CheckpointError, DamagedCheckpointError, MismatchError

from treadle_checkpoint.durable import begin_folder, finish_folder, flush_all, whole_folder
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
from treadle_checkpoint.processes import Processes
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
    """Write a checkpoint: a folder that is on the disk whole, or not at all. Several processes do it together.

    Args:
        path: The folder, which must not be there; the same for all processes.
        about: What else the manifest holds, for a model of this digest.
        replaced: What validation runs with in place of what is in the model; see `replaced_in_validation`.
        whole_run: Whether to write more than the model. Default: yes.
    """
    versions = {"torch": str(torch.__version__), "python": platform.python_version()}
    processes = Processes()

    def write_own(folder: Path) -> None:
        digests = {MODEL: write_model_state(folder / MODEL, {**state.model, **replaced})}
        if whole_run and replaced:
            digests[TRAINED] = write_model_state(folder / TRAINED, trained_state(state.model, replaced))
        if whole_run and processes.size == 1:
            digests[TENSORS] = write_state(folder / TENSORS, folder / PLAIN, state, place)
        content = {"whole_run": whole_run, "processes": processes.size, "versions": versions}
        write_manifest(folder, {**about(digests[MODEL]), **content}, digests)

    if processes.size == 1:
        with whole_folder(path) as folder:
            write_own(folder)
    else:
        from treadle_checkpoint import shared_files  # which loads much of torch that is needed rarely

        def write_part(folder: Path) -> None:
            if whole_run:
                shared_files.write_shared(folder, state, place, processes)

        write_together(path, processes, write_part, write_own)


def write_together(
    path: Path, processes: Processes, write_part: Callable[[Path], None], write_own: Callable[[Path], None]
) -> None:
    """Write a folder with files of several processes, which has its name when all of them are on the disk.

    Args:
        write_part: Writes a process's files.
        write_own: Writes the files of the main process, the manifest last.
    """
    folder = processes.of_main(lambda: begin_folder(path))

    def refuse_another_disk() -> None:
        if not folder.is_dir():
            raise CheckpointError(
                f"Process {processes.rank} does not see {folder.parent}, where the main process saves.\n"
                f"Fix: save to a folder that all processes share."
            )

    def finish() -> None:
        write_own(folder)
        finish_folder(folder, path)

    try:
        processes.together(refuse_another_disk)
        write_part(folder)
        processes.of_main(finish)
    except BaseException:
        if processes.main:
            shutil.rmtree(folder, ignore_errors=True)
        raise


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
    """Read and verify one checkpoint, as far as this process needs it.

    Raises:
        DamagedCheckpointError: naming the file that is damaged.
        CheckpointError: if it holds the model alone.
        MismatchError: if it was saved inside of an epoch by another number of processes.
    """
    manifest, processes = read_manifest(path), Processes()
    if not entry(path, manifest, "whole_run", lambda value: isinstance(value, bool)):
        raise CheckpointError(
            f"{path} holds the model alone.\nFix: load that:\n    load_model(learner.model, {str(path)!r})"
        )
    saved = entry(path, {"processes": 1, **manifest}, "processes", is_count)
    verify(path, manifest, (MODEL,))
    model = read_model_state(path / MODEL, content_digest(path, manifest, MODEL))
    if TRAINED in manifest["files"]:
        verify(path, manifest, (TRAINED,))
        model |= read_model_state(path / TRAINED, content_digest(path, manifest, TRAINED))
    if saved == 1:
        plain, tensors, plain_path = read_alone(path, manifest)
    else:
        from treadle_checkpoint import shared_files  # which loads much of torch that is needed rarely

        verify(path, manifest, shared_files.names_of(saved, manifest["files"]))
        rank = processes.rank if processes.rank < saved else 0
        plain_path = path / shared_files.plain_file(rank)
        plain, tensors = read_plain(plain_path), shared_files.read_shared(path, rank)
    try:
        place = plain.pop("place")
        place = {**place, "ended": unflatten(place.get("ended"), tensors)}
        model |= unflatten(plain.pop("model", {}), tensors)
        progress = plain["progress"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(plain_path, repr(error)) from error
    if not isinstance(progress, dict) or not all(map(is_count, progress.values())):
        raise damaged(plain_path, "it has no progress of a run")
    state, where = RunState(model, plain, tensors), place_of(place, plain_path)
    if saved != processes.size and where.phase is not None:
        raise MismatchError(
            f"{path} was saved in the middle of an epoch by {counted(saved)}, and there {are(processes.size)} now, so "
            f"that the batches would be others.\n"
            f"Fix: resume with as many, or from a checkpoint that was saved at the end of an epoch."
        )
    if processes.rank >= saved:
        keep_random_state(state)
    return state, where


def read_alone(path: Path, manifest: dict[str, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor], Path]:
    """What is plain, and the tensors, of a checkpoint that one process saved; and the file of the former."""
    verify(path, manifest, (TENSORS, PLAIN))
    tensors_file, plain = TENSORS, PLAIN
    if {FINAL_TENSORS, FINAL_PLAIN} & manifest["files"].keys():
        read_tensors(path / TENSORS, content_digest(path, manifest, TENSORS))  # every file is verified
        tensors_file, plain = FINAL_TENSORS, FINAL_PLAIN
        verify(path, manifest, (tensors_file, plain))
    tensors, _ = read_tensors(path / tensors_file, content_digest(path, manifest, tensors_file))
    return read_plain(path / plain), tensors, path / plain


def read_plain(file: Path) -> dict[str, Any]:
    """The plain values in a file."""
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(file, repr(error)) from error
    if not isinstance(plain, dict):
        raise damaged(file, "it has no state of a run")
    return plain


def keep_random_state(state: RunState) -> None:
    """A process that the saved run did not have draws its own random numbers, and not those of another one."""
    own = RandomState().as_dict()
    for moment, saved in state.parts["random"].items():
        name = f"random/{moment}/own process"
        flat = {key: flatten(value, f"{name}/{key}", state.tensors) for key, value in own.items() if key != "own"}
        state.parts["random"][moment] = {**saved, **flat}


def counted(number: int) -> str:
    """Processes, in a message."""
    return "1 process" if number == 1 else f"{number} processes"


def are(number: int) -> str:
    """How many processes there are, in a message."""
    return "is 1" if number == 1 else f"are {number}"
