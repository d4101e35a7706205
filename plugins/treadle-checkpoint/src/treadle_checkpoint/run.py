"""`save_run` and `resume`: a whole training, on the disk and back."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from loguru import logger
from treadle import Learner
from treadle.authoring import RunState, capture_run, instance_of, list_of, refuse_unresumable
from treadle.errors import CheckpointError, DamagedCheckpointError

from treadle_checkpoint.durable import whole_folder
from treadle_checkpoint.errors import FolderInUseError, NoCheckpointError
from treadle_checkpoint.folder import numbered
from treadle_checkpoint.manifest import MANIFEST, read_manifest, verify, write_manifest
from treadle_checkpoint.model_file import MODEL, read_model_state, refuse_non_finite, write_model_state
from treadle_checkpoint.resumption import Place, SavedRun, between_epochs
from treadle_checkpoint.tensor_file import read_tensors, write_tensors

#: The files of all that is not the model.
TENSORS, PLAIN = "state.safetensors", "state.json"


def save_run(learner: Learner, path: str | os.PathLike[str]) -> None:
    """Save a whole run, so that it can be resumed from there.

    To be called outside of epochs, for example after `fit`. During a fit a `Checkpointer` saves.

    Saved are the model, the optimizer, the state of the loss function, the callbacks' own states, `cbstate`, all
    counters, the random generators, and where in its fit the run stands. What your script makes again is not saved:
    the classes, the data, the settings of the callbacks.

    Args:
        path: The folder to make; it must not be there yet.

    Raises:
        CheckpointError: if it is called inside of an epoch.
        FolderInUseError: if there is something at the path.
        NonFiniteWeightsError: if a weight is NaN or infinite.
        NotSaveableError: if a callback or an entry of `cbstate` keeps what no checkpoint can hold.
        NotResumableError: if the run could not be resumed, because of its data or its optimizer.

    Example:
        >>> import tempfile
        >>> from treadle import toy_learner
        >>> folder = tempfile.mkdtemp()
        >>> learner = toy_learner()
        >>> _ = learner.fit(3)
        >>> save_run(learner, folder + "/three-epochs")
        >>> again = toy_learner()
        >>> _ = resume(again, folder + "/three-epochs")
        >>> again.model.weight.equal(learner.model.weight), again.progress.epochs
        (True, 3)
    """
    progress, position = learner.progress, learner.position
    if progress.phase is not None:
        raise CheckpointError(
            "save_run was called inside of an epoch, where the callbacks are not done yet.\n"
            "Fix: let a callback save between two steps:\n    Checkpointer(folder, every_steps=100)"
        )
    path = Path(path)
    if path.exists():
        raise FolderInUseError(f"There is something at {path} already.\nFix: choose another name; nothing is replaced.")
    refuse_non_finite(learner.model)
    refuse_unresumable(learner.data)
    state, place = capture_run(learner, copy=False), between_epochs(position, position.rounds)
    write(path, state, place, {"epoch": progress.epoch, "steps": progress.steps})


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


def resume(
    learner: Learner,
    path: str | os.PathLike[str],
    *,
    fall_back: bool = False,
    without: Collection[str] = (),
) -> Path:
    """Take over a run that was saved, into a learner that was built as the saved one was.

    After it, `learner.fit(n)` with the n of the fit that was interrupted does what was left of it, in the middle of
    an epoch from the next batch on. On the CPU everything is then bit for bit as in a run that never stopped.

    The fit dispatches `FitBegin` and, in the middle of an epoch, that epoch's `EpochBegin` again, so that callbacks
    can open files and progress bars; what they change of the learner by that is put back. No code in the files is
    executed, and everything that is read is verified first.

    Args:
        learner: Has the same models, optimizers and callbacks, and the same data or those that are passed to `fit`.
        path: A checkpoint, or a folder with checkpoints, of which the newest is taken.
        fall_back: Whether to take the newest that is undamaged, with a warning, if the newest of a folder is damaged.
            Default: a damaged one is an error.
        without: Names of callbacks whose state may be missing here or there. Default: none.

    Returns:
        The checkpoint that was taken.

    Raises:
        NoCheckpointError: if there is none.
        DamagedCheckpointError: naming the file that is damaged, and the checkpoint before it.
        MismatchError: if the learner is another one than was saved; then it is as it was.
        CheckpointError: if the checkpoint holds the model alone.
        ArgumentTypeError: if `learner` is not one.

    Example:
        >>> import tempfile
        >>> from treadle import toy_learner
        >>> from treadle_checkpoint import Checkpointer, checkpoints
        >>> again = toy_learner()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     learner = toy_learner(Checkpointer(folder))
        ...     _ = learner.fit(3)
        ...     _ = resume(again, checkpoints(folder)[0])  # as if the run had died in its second epoch
        >>> again.fit(3).epochs, again.model.weight.equal(learner.model.weight)
        (2, True)
    """
    instance_of(learner, "learner", Learner, "resume(learner, 'runs/digits')")
    without = list_of(without, "without", str, "without=['Counter']")
    state, place, path = read_newest(Path(path), fall_back=fall_back)
    state.check(learner, where=str(path), without=without)
    saved = SavedRun(learner, state, place, str(path), without)
    saved.put_back("entry", data=False)
    learner.position.rounds = place.rounds if place.n is None else 0
    if place.phase is not None or place.n is not None:
        learner.position.resumption = saved
    else:
        state.put_back_loaders(learner)
        learner.position.resumption = None
    return path


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
    verify(path, manifest)
    if not manifest["whole_run"]:
        raise CheckpointError(
            f"{path} holds the model alone.\nFix: load that:\n    load_model(learner.model, {str(path)!r})"
        )
    model = read_model_state(path / MODEL, manifest["files"][MODEL]["content"])
    tensors, _ = read_tensors(path / TENSORS, manifest["files"][TENSORS]["content"])
    plain = json.loads((path / PLAIN).read_text(encoding="utf-8"))
    place = plain.pop("place")
    return RunState(model, plain, tensors), Place(**{**place, "phases": tuple(place["phases"])})
