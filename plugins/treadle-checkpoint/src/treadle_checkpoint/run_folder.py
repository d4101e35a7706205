"""The folder that a run saves its checkpoints to, and that no other run does."""

from __future__ import annotations

import secrets
from math import isfinite
from pathlib import Path
from typing import Any

from loguru import logger
from safetensors import SafetensorError
from treadle.authoring import RunState, capture_run, model_state

from treadle_checkpoint.durable import clear_remainders
from treadle_checkpoint.errors import FolderInUseError
from treadle_checkpoint.folder import name_of, numbered, prune, readable
from treadle_checkpoint.model_file import non_finite
from treadle_checkpoint.place import Place
from treadle_checkpoint.run_files import write
from treadle_checkpoint.score import Score


class RunFolder:
    """Saves checkpoints of one run to a folder.

    Args:
        path: The folder; made with the first checkpoint.
        keep_top_k: How many to keep beside the newest; None for all.
        whole_run: Whether to save more than the model.

    Attributes:
        run: The run's identifier, in all of its checkpoints; not drawn from a generator that a seed sets.
    """

    def __init__(self, path: Path, keep_top_k: int | None, *, whole_run: bool) -> None:
        self.path, self.keep_top_k, self.whole_run = path, keep_top_k, whole_run
        self.run = secrets.token_hex(8)

    def is_that_of(self, other: RunFolder) -> bool:
        """Whether the two are the same folder, also if their paths differ."""
        return self.path.resolve() == other.path.resolve()

    def claim(self) -> None:
        """Make sure before training that no other run uses the folder, and clear up after a run that was killed."""
        self.refuse_others()
        clear_remainders(self.path)

    def refuse_others(self) -> None:
        """Refuse the folder if it holds checkpoints of another run.

        Raises:
            FolderInUseError: if it does.
        """
        if others := [one for one in readable(self.path)[0] if one.run != self.run]:
            raise FolderInUseError(
                f"{self.path} holds checkpoints of another run ({len(others)}).\n"
                f"Fix: start a new run in another folder, or go on with that one before fit:\n"
                f"    resume(learner, {str(self.path)!r})"
            )

    def save(self, learner: Any, place: Place, loss: float | None, score: Score) -> None:
        """Save a checkpoint; if the model has weights that are not finite, warn instead.

        Args:
            learner: The learner, or what a callback that may read all of it sees.
                loss: The training loss, for the name.
            score: What the checkpoint is compared with others by.
        """
        if (name := non_finite(learner.model)) is not None:
            logger.warning(f"No checkpoint was saved: {name} is NaN or infinite. The ones before it stay.")
            return
        self.refuse_others()
        progress = learner.progress
        number = max((number for number, _ in numbered(self.path)), default=0) + 1
        loss = loss if loss is not None and isfinite(loss) else None
        path = self.path / name_of(number, progress.epoch, progress.steps, loss)
        about = {
            "run": self.run,
            "epoch": progress.epoch,
            "steps": progress.steps,
            "loss": loss,
            "score": score.as_dict(),
        }
        try:
            if self.whole_run:
                state = capture_run(learner, copy=False)
            else:
                state = RunState(model_state(learner.model, copy=False), {}, {})
            write(path, state, place, about, whole_run=self.whole_run)
        except (OSError, SafetensorError) as error:
            error.add_note(f"{path.name} could not be saved. The checkpoints before it are as they were.")
            raise
        if self.keep_top_k is not None:
            prune(self.path, self.keep_top_k, score)
