"""`Checkpointer`: save the run during training."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from loguru import logger
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CancelFittingException,
    ConflictResolution,
    NoConflict,
    Phase,
    Read,
    RunFirst,
    hookimpl,
)
from treadle.access import Permission
from treadle.callback import unwrap
from treadle.errors import ArgumentError, ArgumentValueError
from treadle.handlers import handlers
from treadle.loop import Progress, progress_of

from treadle_checkpoint import model_state
from treadle_checkpoint.batch_digest import batch_digest
from treadle_checkpoint.durable import clear_remainders
from treadle_checkpoint.errors import FolderInUseError, NotResumableError
from treadle_checkpoint.finite import non_finite
from treadle_checkpoint.folder import checkpoints, name_of, numbered, prune
from treadle_checkpoint.loaders import refuse_unresumable
from treadle_checkpoint.position import Position, between, phase_key
from treadle_checkpoint.run import write
from treadle_checkpoint.score import Score, loss_of, recorded
from treadle_checkpoint.snapshot import take


class Checkpointer(Callback):
    """Save the whole run, after every epoch of training unless told otherwise, so that it can be resumed.

    It saves when no callback has anything left to do in a step or an epoch: it is the outermost of those that wrap
    these. So what is saved does not depend on the order of the callbacks, and a weight swap that is undone at the end
    of an epoch is undone.

    A model with weights that are NaN or infinite is not saved; a warning says so. A fit that is cancelled at the end
    of an epoch, as `EarlyStopping` does, is saved first.

    Args:
        folder: Where each checkpoint gets a folder of its own, whose name starts as `checkpoint_epoch_003_loss_0.0123`
            does; the loss is that of training. A folder belongs to one run.
        keep_top_k: Keep the k best and the newest, remove all others. Default: keep all.
        every_epochs: Save after every so many epochs. Default: 1, unless steps or minutes are given.
        every_steps: Save after every so many steps. Default: never.
        every_minutes: Save after the first step that ends so long after the last time. Default: never.
        metric: What "best" means: the name of a metric that `Metrics` records. Without `Metrics`, the loss of an epoch
            is that of its last step; so is that of what is saved in the middle of an epoch.
        phase: The type of the phases whose metric it is, and after whose epochs to save. Default: training phases.
        mode: "min" if lower values of the metric are better, "max" if higher ones are.
        during: The type of the phases in which to count steps and minutes. Default: training phases.
        whole_run: Whether to save all that is needed to resume. Default: yes; else the model alone.
        clock: A function that tells the time in seconds. Default: `time.monotonic`.

    Reads: everything, but in operations only: `epoch` and, for steps and minutes, `step`.

    Raises:
        ArgumentError, ArgumentValueError: for an argument that makes no sense.
        FolderInUseError: before training, if the folder holds checkpoints of another run.
        NotResumableError: before training, if the run could not be resumed, because of its data or its optimizer.
        NotSaveableError: before training, if a callback or an entry of `cbstate` keeps what no checkpoint can hold.
        CheckpointError: if there is no metric of that name.

    Example:
        >>> import tempfile
        >>> from treadle import toy_learner
        >>> from treadle_checkpoint import checkpoints
        >>> folder = tempfile.mkdtemp()
        >>> _ = toy_learner(Checkpointer(folder, keep_top_k=1)).fit(3)
        >>> [checkpoint.epoch for checkpoint in checkpoints(folder)]
        [3]

    Source: FluxTraining.jl, `Checkpointer`.
    """

    #: A run may be resumed with or without one.
    optional_state = True

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep_top_k: int | None = None,
        every_epochs: int | None = None,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        metric: str = "Loss",
        phase: type[Phase] = AbstractTrainingPhase,
        mode: str = "min",
        during: type[Phase] = AbstractTrainingPhase,
        whole_run: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise ArgumentError(f"Checkpointer needs the path of a folder, got {folder!r}: Checkpointer('runs/digits')")
        whole("keep_top_k", keep_top_k, 0)
        whole("every_epochs", every_epochs, 1)
        whole("every_steps", every_steps, 1)
        if every_minutes is not None and (
            isinstance(every_minutes, bool) or not isinstance(every_minutes, int | float)
        ):
            raise ArgumentError(
                f"every_minutes is a number, got {every_minutes!r}: Checkpointer(folder, every_minutes=10)"
            )
        if every_minutes is not None and not every_minutes > 0:
            raise ArgumentValueError(
                f"every_minutes is more than 0, got {every_minutes}: Checkpointer(folder, every_minutes=10)"
            )
        if mode not in ("min", "max"):
            raise ArgumentValueError(f'Checkpointer(mode) is "min" or "max", got {mode!r}.')
        for kind in (phase, during):
            if not (isinstance(kind, type) and issubclass(kind, Phase)):
                raise ArgumentError(f"Checkpointer needs types of phases, got {kind!r}: phase=ValidationPhase")
        self.folder = Path(folder)
        self.keep_top_k, self.every_steps, self.every_minutes = keep_top_k, every_steps, every_minutes
        self.every_epochs = 1 if every_epochs is every_steps is every_minutes is None else every_epochs
        self.metric, self.phase, self.mode, self.during, self.whole_run = metric, phase, mode, during, whole_run
        self.clock = clock
        self._run = secrets.token_hex(8)
        self._loss: float | None = None  # of the last epoch of training, or of its last step that was saved
        self._checked = False
        self._ended = False  # whether the end of an epoch got through to this callback
        self._under_way: type[Phase] | None = None  # the type of phase of the epoch that is not an inner one
        self._taken = 0  # batches of it, since it began or was resumed
        self._last = clock()
        if every_steps is not None or every_minutes is not None:
            self.step = self._around_steps()

    @property
    def state_access(self) -> Mapping[str, type[Permission]]:  # type: ignore[override]
        """It reads all there is; a metric other than the loss must have somebody who records it."""
        fields = ("model", "optimizer", "lossfn", "data", "params", "step", "callbacks", "cbstate")
        access: dict[str, type[Permission]] = dict.fromkeys(fields, Read)
        if self.metric != "Loss":
            access["cbstate.metricsepoch"] = Read
        return access

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        """Around a step and an epoch it comes first, so that nobody has anything left to do when it saves."""
        if isinstance(unwrap(other), Checkpointer):
            return NoConflict()
        return RunFirst(self) if {"epoch", "step"} & set(handlers(unwrap(other))) else NoConflict()

    def on_epoch_end(self) -> None:
        self._ended = True  # so that `throttle(Checkpointer(folder), EpochEnd, freq=5)` works

    @hookimpl(wrapper=True)
    def epoch(self, learner: Any, phase: Phase) -> Generator[None, object, object]:
        progress = progress_of(learner)
        if progress.phase is not None:  # an epoch inside of another one
            return (yield)
        self._check(learner)
        self._under_way, self._taken, self._ended = type(phase), 0, False
        rounds = progress.rounds
        try:
            result = yield
        except CancelFittingException:
            if progress.rounds > rounds:
                self._after_epoch(learner, phase, rounds + 1)
            raise
        finally:
            self._under_way = None
        self._after_epoch(learner, phase, rounds + 1)
        return result

    def _around_steps(self) -> Callable[..., Any]:
        @hookimpl(wrapper=True)
        def step(learner: Any, phase: Phase, batch: Any) -> Generator[None, object, object]:
            if type(phase) is not self._under_way:
                return (yield)
            progress = progress_of(learner)
            due = isinstance(phase, self.during) and self._is_due(progress, phase)
            digest = batch_digest(batch) if due and self.whole_run else None  # before a callback changes it in place
            try:
                result = yield
            finally:
                self._taken += 1
            if due:
                self._after_step(learner, phase, digest)
            return result

        return step

    def _is_due(self, progress: Progress, phase: Phase) -> bool:
        """Whether to save after the step that begins."""
        steps = progress.steps + 1 if phase.training else self._taken + 1
        by_steps = self.every_steps is not None and steps % self.every_steps == 0
        return by_steps or (self.every_minutes is not None and self.clock() - self._last >= 60 * self.every_minutes)

    def _after_step(self, learner: Any, phase: Phase, digest: str | None) -> None:
        progress = progress_of(learner)
        if self.whole_run and progress.at_start is None:
            raise NotResumableError(
                f"{type(phase).__name__}.epoch goes over its data by itself, so a run could not be resumed in the "
                f"middle of it. Write there: for batch in treadle.loop.batches(learner, self, data)"
            )
        if phase.training:
            self._loss = loss_of(learner.step)
        done = progress.skipped + self._taken
        place = replace(
            between(progress, progress.rounds),
            phase=phase_key(phase),
            batches=done,
            steps=progress.step,
            digest=digest,
        )
        self._save(learner, place, self._step_value(learner, phase))

    def _after_epoch(self, learner: Any, phase: Phase, rounds: int) -> None:
        if not self._ended:
            return
        progress = progress_of(learner)
        if isinstance(phase, AbstractTrainingPhase):
            value = recorded(learner.cbstate, "epoch", phase, "Loss")
            self._loss = loss_of(learner.step) if value is None else value
        if isinstance(phase, self.phase) and self.every_epochs and progress.epoch % self.every_epochs == 0:
            value = self._loss
            if self.metric != "Loss" or not isinstance(phase, AbstractTrainingPhase):
                value = recorded(learner.cbstate, "epoch", phase, self.metric)
                if value is None and self.metric == "Loss":
                    value = loss_of(learner.step)
            self._save(learner, between(progress, rounds), value)

    def _step_value(self, learner: Any, phase: Phase) -> float | None:
        """What an entry in the middle of an epoch is compared by: the metric's last value."""
        if isinstance(phase, self.phase):
            value = recorded(learner.cbstate, "step", phase, self.metric)
            return loss_of(learner.step) if value is None and self.metric == "Loss" else value
        known = [each for each in learner.cbstate.get("metricsepoch", ()) if isinstance(each, self.phase)]
        return recorded(learner.cbstate, "epoch", known[-1], self.metric) if known else None

    def _check(self, learner: Any) -> None:
        """Before training: whether it can be saved, resumed, and whether the folder is free."""
        if self._checked:
            return
        if self.whole_run:
            refuse_unresumable(learner.data)
            take(learner, Position())
        for other in learner.callbacks:
            other = unwrap(other)
            if isinstance(other, Checkpointer) and other is not self and same(other.folder, self.folder):
                raise FolderInUseError(f"Two Checkpointers save to {self.folder}. Give each a folder of its own.")
        self._refuse_others()
        self._checked, self._last = True, self.clock()

    def _refuse_others(self) -> None:
        """Refuse a folder that holds checkpoints of another run."""
        others = [one for one in checkpoints(self.folder) if one.run != self._run]
        if others:
            raise FolderInUseError(
                f"{self.folder} holds {len(others)} checkpoint(s) of another run. To go on with that one: "
                f"resume(learner, {str(self.folder)!r}) before fit. For a new one: another folder."
            )

    def _save(self, learner: Any, position: Position, value: float | None) -> None:
        self._last = self.clock()
        if (name := non_finite(model_state.models_by_name(learner.model))) is not None:
            logger.warning(f"{self.name} did not save: {name} is NaN or infinite. The checkpoints before it stay.")
            return
        self._refuse_others()
        clear_remainders(self.folder, self._run)
        progress = progress_of(learner)
        number = max((number for number, _ in numbered(self.folder)), default=0) + 1
        score = Score(self.metric, self.phase.__name__, self.mode, value)
        loss = None if self._loss is None or self._loss - self._loss != 0 else self._loss
        said = {
            "run": self._run,
            "epoch": progress.epoch,
            "steps": progress.steps,
            "loss": loss,
            "score": score.as_dict(),
        }
        path = self.folder / name_of(number, progress.epoch, progress.steps, loss)
        try:
            write(path, take(learner, position), said, whole_run=self.whole_run, owner=self._run)
        except OSError as error:
            error.add_note(f"{self.name} could not save {path.name}. The checkpoints before it are as they were.")
            raise
        if self.keep_top_k is not None:
            prune(self.folder, self.keep_top_k, score, self._run)

    def state_dict(self) -> dict[str, Any]:
        """To which run it belongs, and the training loss for the next name."""
        return {"run": self._run, "loss": self._loss}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._run, self._loss, self._checked = state["run"], state["loss"], False


def whole(name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number, or less than `least`; None is fine."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentError(f"{name} is a whole number, got {value!r}: Checkpointer(folder, {name}=3)")
    if value < least:
        raise ArgumentValueError(f"{name} is at least {least}, got {value}: Checkpointer(folder, {name}=3)")


def same(first: Path, second: Path) -> bool:
    """Whether two paths are one folder, which need not be there."""
    return first.resolve() == second.resolve()
