"""Typed exceptions of checkpoints; those of a run's state are the core's."""

from __future__ import annotations

from pathlib import Path

from treadle.errors import CheckpointError, DamagedCheckpointError


class NoCheckpointError(CheckpointError, FileNotFoundError):
    """There is no checkpoint at that path."""


class FolderInUseError(CheckpointError):
    """The folder or the name is taken by another run."""


class NonFiniteWeightsError(CheckpointError):
    """A model has weights that are NaN or infinite, and is not saved."""


def damaged(file: Path, what: str) -> DamagedCheckpointError:
    """The error for a file of a checkpoint whose content is not what was written."""
    return DamagedCheckpointError(f"{file} is damaged: {what}.\nFix: load another checkpoint.")
