"""The checkpoints in a folder: which there are, the newest and the best, and which of them to keep."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from loguru import logger
from treadle.authoring import file_path
from treadle.errors import CheckpointError

from treadle_checkpoint.durable import remove_folder
from treadle_checkpoint.errors import NoCheckpointError
from treadle_checkpoint.manifest import entry, is_count, is_text, read_manifest
from treadle_checkpoint.score import Score

#: How the names of a folder's entries end: with a number that grows from save to save.
NUMBER = re.compile(r"^checkpoint_.*_save_(\d{1,15})$")


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
    """All entries of a folder with their numbers, the oldest first, also damaged ones.

    Raises:
        CheckpointError: if the folder cannot be read.
    """
    try:
        paths = list(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be read ({error.strerror or error}).\nFix: allow this user to read it."
        ) from error
    return sorted((int(match[1]), path) for path in paths if (match := NUMBER.match(path.name)))


def read_entry(number: int, path: Path) -> Checkpoint:
    """The checkpoint that the manifest of an entry describes.

    Raises:
        DamagedCheckpointError: if it cannot be read.
        CheckpointError: if it is of another version.
    """
    manifest = read_manifest(path)
    score = entry(path, manifest, "score", lambda value: isinstance(value, dict))
    return Checkpoint(
        path,
        number,
        run=entry(path, manifest, "run", is_text),
        epoch=entry(path, manifest, "epoch", is_count),
        steps=entry(path, manifest, "steps", is_count),
        loss=entry(path, manifest, "loss", is_value),
        score=Score(
            entry(path, score, "metric", is_text),
            entry(path, score, "phase", is_text),
            entry(path, score, "mode", is_text),
            entry(path, score, "value", is_value),
        ),
        whole_run=entry(path, manifest, "whole_run", lambda value: isinstance(value, bool)),
    )


def is_value(value: Any) -> bool:
    """Whether it is what a score or a loss can be: a finite number, or None."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value))


def readable(folder: Path) -> tuple[list[Checkpoint], list[CheckpointError]]:
    """The checkpoints in a folder, the oldest first, and the errors of those that cannot be read."""
    found, errors = [], []
    for number, path in numbered(folder):
        try:
            found.append(read_entry(number, path))
        except CheckpointError as error:
            errors.append(error)
    return found, errors


def checkpoints(folder: str | os.PathLike[str]) -> list[Checkpoint]:
    """The checkpoints that a `Checkpointer` saved in a folder, the oldest first; none if there is no folder.

    One whose manifest cannot be read is left out, and a warning says so.

    Raises:
        CheckpointError: if the folder cannot be read.
        ArgumentTypeError: if `folder` is not a path.

    Example:
        >>> checkpoints("runs/missing")
        []
    """
    found, errors = readable(file_path(folder, "folder", "checkpoints('runs/digits')"))
    for error in errors:
        logger.warning(f"A checkpoint is left out. {error}")
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
    entries = numbered(file_path(folder, "folder", "latest('runs/digits')"))
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
    found, _ = readable(file_path(folder, "folder", "best('runs/digits')"))
    if not found:
        raise no_checkpoint(folder)
    kind = kind_of(found)
    ranked = [one for one in found if one.score.comparable(kind) and one.score.rank < inf]
    if not ranked:
        raise CheckpointError(
            f"No checkpoint in {folder} has a finite value of {kind.metric} in {kind.phase}, so none is the best.\n"
            f"Fix: take the newest:\n    latest({str(folder)!r})"
        )
    return min(ranked, key=lambda one: (one.score.rank, one.number))


def kind_of(found: list[Checkpoint]) -> Score:
    """By what the checkpoints of a folder are compared: by the newest value of the newest one's metric."""
    newest = found[-1].score
    alike = (one.score for one in reversed(found) if (one.score.metric, one.score.mode) == (newest.metric, newest.mode))
    return next((score for score in alike if score.rank < inf), newest)


def no_checkpoint(folder: str | os.PathLike[str]) -> NoCheckpointError:
    """The error for a folder without checkpoints."""
    return NoCheckpointError(
        f"There is no checkpoint in {folder}.\nFix: train with a callback that saves them:\n"
        f"    Checkpointer({str(folder)!r})"
    )


def prune(folder: Path, k: int) -> None:
    """Remove all checkpoints of a folder but the k best, the newest, and those with its weights, if it has no value.

    These may still be ranked, by the validation that follows. Damaged ones stay, and what was compared by something
    else than the newest that has a value counts as worst.
    """
    found, _ = readable(folder)
    if not found:
        return
    kind = kind_of(found)
    ranks = {one.number: one.score.rank if one.score.comparable(kind) else inf for one in found}
    # Among equals the first, but among those without a score the newest.
    ranked = sorted(found, key=lambda one: (ranks[one.number], -one.number if ranks[one.number] == inf else one.number))
    kept = {one.number for one in [*ranked[:k], *found[-1:]]}
    if found[-1].score.value is None:
        kept |= {one.number for one in found if one.score.value is None and one.steps == found[-1].steps}
    for one in found:
        if one.number not in kept:
            try:
                remove_folder(one.path)
            except OSError as error:
                logger.warning(f"{one.path} could not be removed ({error.strerror or error}). The training goes on.")
