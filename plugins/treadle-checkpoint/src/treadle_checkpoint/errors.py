"""Typed exceptions of checkpoints. Each says what is wrong, where, and what mends it."""

from __future__ import annotations

from treadle.errors import TreadleError


class CheckpointError(TreadleError, ValueError):
    """Everything that has to do with checkpoints."""


class DamagedCheckpointError(CheckpointError):
    """A file of a checkpoint is missing, cut off or changed."""


class NoCheckpointError(CheckpointError, FileNotFoundError):
    """There is no checkpoint at that path."""


class FolderInUseError(CheckpointError):
    """The folder or the name is taken by another run."""


class MismatchError(CheckpointError):
    """A checkpoint and what it is to be loaded into do not fit together."""


class NonFiniteWeightsError(CheckpointError):
    """A model has weights that are NaN or infinite, and is not saved."""


class NotResumableError(CheckpointError):
    """A run could not be resumed bit for bit, because of something that it uses."""


class NotSaveableError(CheckpointError, TypeError):
    """A state holds something other than tensors and plain values."""
