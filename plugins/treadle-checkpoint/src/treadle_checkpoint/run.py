"""`save_run` and `resume`: a whole training, on the disk and back."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from treadle import Learner
from treadle.authoring import RunState, capture_run, file_path, instance_of, list_of, position_of, refuse_unresumable
from treadle.errors import ArgumentTypeError, CheckpointError

from treadle_checkpoint.errors import FolderInUseError
from treadle_checkpoint.model_file import refuse_non_finite, replaced_in_validation
from treadle_checkpoint.place import Place, between_epochs
from treadle_checkpoint.processes import Processes
from treadle_checkpoint.resumption import SavedRun, checked
from treadle_checkpoint.run_files import read_newest, write


def save_run(learner: Learner, path: str | os.PathLike[str]) -> None:
    """Save a whole run, so that it can be resumed from there.

    To be called outside of epochs, for example after `fit`. During a fit a `Checkpointer` saves. In a run of several
    processes all of them call it, with the same path, and so they do with `resume`.

    Saved are the model, the optimizer, the state of the loss function, the callbacks' own states, `cbstate`, all
    counters, the random generators, and where in its fit the run stands. What your script makes again is not saved:
    the classes, the data, the settings of the callbacks.

    Args:
        path: The folder to make; it must not be there yet.

    Raises:
        CheckpointError: if it is called inside of a fit or an epoch.
        FolderInUseError: if there is something at the path.
        NonFiniteWeightsError: if a weight is NaN or infinite.
        NotSaveableError: if a callback or an entry of `cbstate` keeps what no checkpoint can hold.
        NotResumableError: if the run could not be resumed, because of its data or its optimizer.
        ArgumentTypeError: if `learner` or `path` is not one.

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
    refuse_inside(
        learner,
        "save_run was called inside of a fit or an epoch, where the callbacks are not done yet.\n"
        "Fix: ask a Checkpointer for it, which saves when the step or the epoch has ended:\n"
        "    checkpointer.request_save()",
    )
    instance_of(learner, "learner", Learner, "save_run(learner, 'runs/digits')")
    path = file_path(path, "path", "save_run(learner, 'runs/digits')")
    processes = Processes()

    def check() -> tuple[RunState, Place]:
        if processes.main and (path.exists() or path.is_symlink()):
            raise FolderInUseError(
                f"There is something at {path} already.\nFix: choose another name; nothing is replaced."
            )
        refuse_non_finite(learner.model)
        refuse_unresumable(learner.data)
        return capture_run(learner, copy=False), between_epochs(learner.position)

    progress = learner.progress
    state, place = processes.together(check)
    try:
        about = {"epoch": progress.epoch, "steps": progress.steps}
        write(path, state, place, lambda weights: about, replaced_in_validation(learner))
    except OSError as error:
        error.add_note(f"{path} could not be saved.")
        raise


def resume(
    learner: Learner,
    path: str | os.PathLike[str],
    *,
    fall_back: bool = False,
    without: Collection[str] = (),
) -> Path:
    """Take over a run that was saved, into a learner that was built as the saved one was.

    After it, `learner.fit(n)` with the n of the fit that was interrupted, or `learner.fit(steps=...)` with its steps,
    does what was left of it, in the middle of an epoch from the next batch on. On the CPU everything is then bit for
    bit as in a run that never stopped.

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
        MismatchError: if the learner is not built as the saved one; then it is as it was.
        CheckpointError: if the checkpoint holds the model alone, or if it is called inside of a fit or an epoch.
        ArgumentTypeError: if `learner` or `path` is not one.

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
    refuse_inside(
        learner,
        "resume was called inside of a fit or an epoch, which goes on with another state.\n"
        "Fix: resume before it:\n    resume(learner, path)\n    learner.fit(10)",
    )
    instance_of(learner, "learner", Learner, "resume(learner, 'runs/digits')")
    without = list_of(without, "without", str, "without=['Counter']")
    instance_of(fall_back, "fall_back", bool, "resume(learner, 'runs/digits', fall_back=True)")
    path = file_path(path, "path", "resume(learner, 'runs/digits')")
    return Processes().together(lambda: take_over(learner, path, fall_back=fall_back, without=without))


def take_over(learner: Learner, path: Path, *, fall_back: bool, without: Collection[str]) -> Path:
    """Take over a run on this process; see `resume`."""
    state, place, path = read_newest(path, fall_back=fall_back)
    saved = SavedRun(learner, state, place, str(path), without)
    with checked(str(path)):
        state.check(learner, where=str(path), without=without)
    saved.over()
    saved.put_back("entry", data=False)
    learner.position.rounds = 0 if place.in_fit else place.rounds
    if place.phase is not None or place.in_fit:
        learner.position.resumption = saved
    else:
        saved.put_back_data()
    return path


def refuse_inside(learner: Any, message: str) -> None:
    """Refuse what cannot be done while a learner, or the one that a callback has a view of, is in its loop."""
    with suppress(ArgumentTypeError):  # it is not a learner
        if position_of(learner).length is not None or learner.progress.phase is not None:
            raise CheckpointError(message)
