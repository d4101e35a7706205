"""The folder that a run saves its checkpoints to, and that no other run does."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from loguru import logger
from safetensors import SafetensorError
from treadle.authoring import RunState, capture_run, model_state
from treadle.errors import CheckpointError

from treadle_checkpoint.durable import clear_remainders
from treadle_checkpoint.errors import FolderInUseError
from treadle_checkpoint.folder import Checkpoint, name_of, numbered, prune, readable
from treadle_checkpoint.folder_lock import FolderLock
from treadle_checkpoint.late_state import KnownState
from treadle_checkpoint.manifest import content_digest, read_manifest, replace_manifest
from treadle_checkpoint.model_file import MODEL, TRAINED, non_finite, replaced_in_validation
from treadle_checkpoint.place import Place
from treadle_checkpoint.processes import Processes
from treadle_checkpoint.run_files import finish, write
from treadle_checkpoint.score import Score


class RunFolder:
    """Saves checkpoints of one run to a folder.

    Args:
        path: The folder.
        keep_top_k: How many to keep beside the newest; None for all.
        whole_run: Whether to save more than the model.

    Attributes:
        run: The run's identifier, in all of its checkpoints; not drawn from a generator that a seed sets.
        known: What the learner had before the fit, or None.
        newest: The name of the checkpoint that this fit saved last, or None.
        lock: Held while a fit is under way.
    """

    def __init__(self, path: Path, keep_top_k: int | None, *, whole_run: bool) -> None:
        self.path, self.keep_top_k, self.whole_run = path, keep_top_k, whole_run
        self.run = secrets.token_hex(8)
        self.known: KnownState | None = None
        self.newest: str | None = None
        self.lock = FolderLock(path)

    def is_that_of(self, other: RunFolder) -> bool:
        """Whether the two are the same folder, also if their paths differ."""
        return self.path.resolve() == other.path.resolve()

    def claim(self) -> None:
        """Make sure before training that no other run uses the folder, and clear up after a run that was killed."""
        processes = Processes()

        def claim() -> str:
            self.lock.acquire()
            try:
                self.refuse_others()
            except BaseException:
                self.lock.release()
                raise
            clear_remainders(self.path)
            return self.run

        self.run = processes.of_main(claim)

    def release(self) -> None:
        """Let others use the folder; a fit that had nothing to do clears up after one that was killed as well."""
        if not self.lock.held and self.path.is_dir() and Processes().main:
            with suppress(CheckpointError):  # who uses it clears up
                self.lock.acquire()
                clear_remainders(self.path)
        self.lock.release()

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

    def save(self, learner: Any, place: Place, loss: float | None, score: Callable[[str], Score]) -> None:
        """Save a checkpoint; if the model has weights that are not finite, warn instead.

        Args:
            learner: The learner, or what a callback that may read all of it sees.
            loss: The training loss, for the name.
            score: What the checkpoint is compared with others by, if its weights have this digest.
        """
        processes, replaced = Processes(), replaced_in_validation(learner)
        found = processes.gather(non_finite(learner.model, replaced))
        if (name := next((name for name in found if name is not None), None)) is not None:
            logger.warning(
                f"No checkpoint was saved: {name} is NaN or infinite. The ones before it stay.\n"
                f"Fix: look for the batch or the learning rate that causes it; training on does not make it finite. "
                f"Go back to the newest checkpoint, in a learner that was built anew:\n"
                f"    resume(learner, {str(self.path)!r})"
            )
            return
        progress = learner.progress
        loss = loss if loss is not None and isfinite(loss) else None

        def next_name() -> str:
            self.refuse_others()
            number = max((number for number, _ in numbered(self.path)), default=0) + 1
            return name_of(number, progress.epoch, progress.steps, loss)

        path = self.path / processes.of_main(next_name)
        before, self.newest = self.newest, path.name  # part of the state
        counts = {"run": self.run, "epoch": progress.epoch, "steps": progress.steps, "loss": loss}
        try:
            state = processes.together(lambda: self.capture(learner))
            about = lambda weights: {**counts, "score": score(weights).as_dict()}  # noqa: E731
            write(path, state, place, about, replaced, whole_run=self.whole_run)
        except BaseException as error:
            self.newest = before
            if isinstance(error, OSError | SafetensorError):
                error.add_note(f"{path.name} could not be saved. The checkpoints before it are as they were.")
            raise
        self.prune()

    def capture(self, learner: Any) -> RunState:
        """What is to be saved of a learner."""
        if not self.whole_run:
            return RunState(model_state(learner.model, copy=False), {}, {})
        state = capture_run(learner, copy=False)
        if self.known is not None:
            self.known.refuse_late(learner, state)
        return state

    def rank(self, weights: str, score: Score) -> None:
        """Give a score to the checkpoints of this run with these weights that have none yet."""
        if not Processes().main:
            return
        for one in readable(self.path)[0]:
            if one.run == self.run and one.score.value is None:
                manifest = read_manifest(one.path)
                if content_digest(one.path, manifest, MODEL) == weights:
                    replace_manifest(one.path, {**manifest, "score": score.as_dict()})
        self.prune()

    def finish(self, learner: Any, place: Place, weights: Callable[[], tuple[str, str | None]]) -> bool:
        """Add the state at the end of a fit to the checkpoint that this fit saved last, if it has the same weights.

        Args:
            weights: Returns the digests of the weights; not called for nothing, since it reads them all.

        Returns:
            Whether it has; never in a run of several processes, of which no part is added to later.
        """
        one = self.last() if Processes().size == 1 else None
        if one is None or one.steps != learner.progress.steps:
            return False
        manifest = read_manifest(one.path)
        model, trained = weights()
        saved = content_digest(one.path, manifest, TRAINED) if TRAINED in manifest["files"] else None
        if content_digest(one.path, manifest, MODEL) != model or (self.whole_run and saved != trained):
            return False
        if self.whole_run:
            finish(one.path, capture_run(learner, copy=False), place)
        return True

    def last(self) -> Checkpoint | None:
        """The checkpoint that this fit saved last, if it is there."""
        return next((one for one in readable(self.path)[0] if one.path.name == self.newest), None)

    def prune(self) -> None:
        """Remove all but the k best, the newest, and those that may still be ranked: with the weights of the newest."""
        if self.keep_top_k is not None and Processes().main:
            prune(self.path, self.keep_top_k)
