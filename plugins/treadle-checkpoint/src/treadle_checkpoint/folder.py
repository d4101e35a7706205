"""The checkpoints in a folder: which there are, the newest and the best, and which of them to keep."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from math import inf
from pathlib import Path

from treadle.errors import CheckpointError, DamagedCheckpointError

from treadle_checkpoint.durable import remove_folder
from treadle_checkpoint.errors import NoCheckpointError
from treadle_checkpoint.manifest import read_manifest
from treadle_checkpoint.score import Score

#: How the names of a folder's entries end: with a number that grows from save to save.
NUMBER = re.compile(r"^checkpoint_.*_save_(\d+)$")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is in a folder. It stands for its path: `resume(learner, best(folder))`.

    Args:
        path: Its own folder.
        number: How many were saved before it, and one.
        run: The identifier of the run.
        epoch: The epoch of training in which, or after which, it was saved; counted from 1.
        steps: The training steps that were done.
        loss: The training loss, or None if it was not finite.
        score: By what it is compared with others, and the value.
        whole_run: Whether the run can be resumed from it; else it holds the model alone.

    Example:
        >>> import tempfile
        >>> from treadle import toy_learner
        >>> from treadle_checkpoint import Checkpointer
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = toy_learner(Checkpointer(folder)).fit(2)
        ...     newest = latest(folder)
        >>> newest.number, newest.epoch, newest.steps, newest.whole_run
        (2, 2, 32, True)
    """

    path: Path
    number: int
    run: str
    epoch: int
    steps: int
    loss: float | None
    score: Score
    whole_run: bool

    def __fspath__(self) -> str:
        """The path, for whatever takes one."""
        return str(self.path)


def name_of(number: int, epoch: int, steps: int, loss: float | None) -> str:
    """The name of an entry.

    Example:
        >>> name_of(7, 3, 48, 0.0123456)
        'checkpoint_epoch_003_loss_0.0123_step_48_save_7'
    """
    shown = "nan" if loss is None else f"{loss:.4f}"
    return f"checkpoint_epoch_{epoch:03d}_loss_{shown}_step_{steps}_save_{number}"


def numbered(folder: Path) -> list[tuple[int, Path]]:
    """All entries of a folder with their numbers, the oldest first, also damaged ones."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := NUMBER.match(path.name))]
    return sorted(found)


def read_entry(number: int, path: Path) -> Checkpoint:
    """The checkpoint that the manifest of an entry describes.

    Raises:
        DamagedCheckpointError: if it cannot be read.
    """
    manifest = read_manifest(path)
    score = Score(**manifest["score"])
    about = {name: manifest[name] for name in ("run", "epoch", "steps", "loss", "whole_run")}
    return Checkpoint(path, number, score=score, **about)


def checkpoints(folder: str | os.PathLike[str]) -> list[Checkpoint]:
    """The checkpoints that a `Checkpointer` saved in a folder, the oldest first; none if there is no folder.

    One whose manifest cannot be read is left out.

    Example:
        >>> checkpoints("runs/missing")
        []
    """
    found = []
    for number, path in numbered(Path(folder)):
        try:
            found.append(read_entry(number, path))
        except DamagedCheckpointError:
            continue
    return found


def latest(folder: str | os.PathLike[str]) -> Checkpoint:
    """The newest checkpoint in a folder.

    Raises:
        NoCheckpointError: if there is none.
        DamagedCheckpointError: if its manifest cannot be read.

    Example:
        >>> import tempfile
        >>> from treadle import toy_learner
        >>> from treadle_checkpoint import Checkpointer
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = toy_learner(Checkpointer(folder)).fit(3)
        ...     latest(folder).epoch
        3
    """
    entries = numbered(Path(folder))
    if not entries:
        raise no_checkpoint(folder)
    return read_entry(*entries[-1])


def best(folder: str | os.PathLike[str]) -> Checkpoint:
    """The best checkpoint in a folder, by the metric of its `Checkpointer`; of equals the first.

    Raises:
        NoCheckpointError: if there is none.
        CheckpointError: if none has a value of that metric that is a finite number.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from treadle import toy_learner
        >>> from treadle_checkpoint import Checkpointer
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     learner = toy_learner(Checkpointer(folder))
        ...     for y in (3.0, 1.0, 2.0):  # the weight is about 0, so the loss is about y
        ...         _ = learner.fit(1, ([(torch.ones(8, 1), torch.full((8, 1), y))],))
        ...     best(folder).epoch
        2
    """
    found = checkpoints(folder)
    if not found:
        raise no_checkpoint(folder)
    score = found[-1].score
    ranked = [one for one in found if one.score.comparable(score) and one.score.rank < inf]
    if not ranked:
        raise CheckpointError(
            f"No checkpoint in {folder} has a finite value of {score.metric} in {score.phase}, so none is the best.\n"
            f"Fix: take the newest:\n    latest({str(folder)!r})"
        )
    return min(ranked, key=lambda one: (one.score.rank, one.number))


def no_checkpoint(folder: str | os.PathLike[str]) -> NoCheckpointError:
    """The error for a folder without checkpoints."""
    return NoCheckpointError(
        f"There is no checkpoint in {folder}.\nFix: train with a callback that saves them:\n"
        f"    Checkpointer({str(folder)!r})"
    )


def prune(folder: Path, k: int, score: Score) -> None:
    """Remove all checkpoints of a folder but the k best and the newest. Damaged ones stay.

    Args:
        score: What they are compared by; what was compared by something else counts as worst.
    """
    found = checkpoints(folder)
    ranks = {one.number: one.score.rank if one.score.comparable(score) else inf for one in found}
    # Among equals the first, but among those without a score the newest.
    ranked = sorted(found, key=lambda one: (ranks[one.number], -one.number if ranks[one.number] == inf else one.number))
    kept = {one.number for one in [*ranked[:k], *found[-1:]]}
    for one in found:
        if one.number not in kept:
            remove_folder(one.path)
