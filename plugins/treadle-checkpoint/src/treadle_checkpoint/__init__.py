"""Checkpoints of models and of whole runs, and how to resume these."""

from treadle.errors import CheckpointError, DamagedCheckpointError, MismatchError, NotResumableError, NotSaveableError

from treadle_checkpoint.checkpointer import Checkpointer
from treadle_checkpoint.errors import FolderInUseError, NoCheckpointError, NonFiniteWeightsError
from treadle_checkpoint.folder import Checkpoint, best, checkpoints, latest
from treadle_checkpoint.model_file import load_model, save_model
from treadle_checkpoint.run import resume, save_run

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Checkpointer",
    "DamagedCheckpointError",
    "FolderInUseError",
    "MismatchError",
    "NoCheckpointError",
    "NonFiniteWeightsError",
    "NotResumableError",
    "NotSaveableError",
    "best",
    "checkpoints",
    "latest",
    "load_model",
    "resume",
    "save_model",
    "save_run",
]
