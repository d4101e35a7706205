"""`Checkpointer`: save the run during training."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any

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
from treadle.authoring import (
    capture_run,
    file_path,
    handlers,
    one_of,
    phase_key,
    position_of,
    real_number,
    refuse_unresumable,
    refuse_unsaveable,
    subclass_of,
    unwrap,
    whole_number,
)
from treadle.errors import NotResumableError

from treadle_checkpoint.batch_digest import batch_digest
from treadle_checkpoint.errors import FolderInUseError
from treadle_checkpoint.place import Place, between_epochs
from treadle_checkpoint.run_folder import RunFolder
from treadle_checkpoint.score import Score, loss_of, recorded


class Checkpointer(Callback):
    """Save the whole run, by default after every epoch of training, so that it can be resumed.

    It saves when no callback has anything left to do in a step or an epoch: it is the outermost of those that wrap
    these. So what is saved does not depend on the order of the callbacks, and a weight swap that is undone at the end
    of an epoch is undone.

    A model with weights that are NaN or infinite is not saved; a warning says so. A fit that is cancelled at the end
    of an epoch, as `EarlyStopping` does, is saved first.

    Args:
        folder: Where each checkpoint gets a folder of its own, whose name starts as `checkpoint_epoch_003_loss_0.0123`
            does; the loss is that of training. A folder belongs to one run.
        keep_top_k: Keep the k best and the newest, remove all others. Default: keep all.
        every_epochs: The number of epochs from save to save. Default: 1, unless steps or minutes are given.
        every_steps: The number of steps from save to save. Default: never.
        every_minutes: The minimum number of minutes from save to save, which is after a step. Default: never.
        metric: What "best" means: the name of a metric that `Metrics` records. Without `Metrics`, the loss of an epoch
            is that of its last step; so is that of what is saved in the middle of an epoch.
        phase: The type of the phases whose metric it is, and after whose epochs to save. Default: training phases.
        mode: "min" if lower values of the metric are better, "max" if higher ones are.
        during: The type of the phases in which to count steps and minutes. Default: training phases.
        whole_run: Whether to save all that is needed to resume. Default: yes; else the model alone.
        clock: Returns the time in seconds. Default: `time.monotonic`.

    Reads: everything, but in operations only: `epoch` and, for steps and minutes, `step`.

    Raises:
        ArgumentTypeError, ArgumentValueError: for an argument that has an invalid value.
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
    """

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
        self.folder = file_path(folder, "Checkpointer(folder)", "Checkpointer('runs/digits')")
        counts = (("keep_top_k", keep_top_k, 0), ("every_epochs", every_epochs, 1), ("every_steps", every_steps, 1))
        for name, count, least in counts:
            if count is not None:
                whole_number(count, name, f"Checkpointer(folder, {name}=3)", least=least)
        if every_minutes is not None:
            real_number(every_minutes, "every_minutes", "Checkpointer(folder, every_minutes=10)", above=0)
        one_of(mode, "Checkpointer(mode)", ("min", "max"))
        for name, kind in (("phase", phase), ("during", during)):
            subclass_of(kind, f"Checkpointer({name})", Phase, f"Checkpointer(folder, {name}=ValidationPhase)")
        self.keep_top_k, self.whole_run = keep_top_k, whole_run
        self._files = RunFolder(self.folder, keep_top_k, whole_run=whole_run)
        self.every_steps, self.every_minutes = every_steps, every_minutes
        self.every_epochs = 1 if every_epochs is every_steps is every_minutes is None else every_epochs
        self.metric, self.phase, self.mode, self.during = metric, phase, mode, during
        self.clock = clock
        self._checked = False  # whether it is known that the run can be saved
        self._loss: float | None = None  # of the last epoch of training, or of its last step that was saved
        self._ended = False  # whether the end of an epoch got through to this callback
        self._under_way: type[Phase] | None = None  # the type of phase of the outermost epoch
        self._taken = 0  # batches of it, since it began or was resumed
        self._last = clock()
        if every_steps is not None or every_minutes is not None:
            self.step = self._around_steps()

    @property
    def state_access(self) -> Mapping[str, type[Permission]]:  # type: ignore[override]
        """It reads everything; a metric other than the loss must be recorded by a callback."""
        fields = ("model", "optimizer", "lossfn", "data", "step", "callbacks", "cbstate")
        access: dict[str, type[Permission]] = dict.fromkeys(fields, Read)
        if self.metric != "Loss":
            access["cbstate.metricsepoch"] = Read
        return access

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        """Around a step and an epoch it comes first, so that all others are done when it saves."""
        if isinstance(unwrap(other), Checkpointer):
            return NoConflict()
        return RunFirst(self) if {"epoch", "step"} & handlers(other).keys() else NoConflict()

    def on_epoch_end(self) -> None:
        self._ended = True  # so that `throttle(Checkpointer(folder), EpochEnd, freq=5)` works

    @hookimpl(wrapper=True)
    def epoch(self, learner: Any, phase: Phase) -> Generator[None, object, object]:
        if learner.progress.phase is not None:  # an epoch inside of another one
            return (yield)
        self._check(learner)
        self._under_way, self._taken, self._ended = type(phase), 0, False
        position = position_of(learner)
        rounds = position.rounds
        try:
            result = yield
        except CancelFittingException:
            if position.rounds > rounds:
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
            due = isinstance(phase, self.during) and self._is_due(learner, phase)
            # Before a callback changes the batch in place.
            digest = batch_digest(batch) if due and self._files.whole_run else None
            try:
                result = yield
            finally:
                self._taken += 1
            if due:
                self._after_step(learner, phase, digest)
            return result

        return step

    def _is_due(self, learner: Any, phase: Phase) -> bool:
        """Whether to save after the step that begins."""
        steps = learner.progress.steps + 1 if phase.training else self._taken + 1
        by_steps = self.every_steps is not None and steps % self.every_steps == 0
        return by_steps or (self.every_minutes is not None and self.clock() - self._last >= 60 * self.every_minutes)

    def _after_step(self, learner: Any, phase: Phase, digest: str | None) -> None:
        position = position_of(learner)
        if self._files.whole_run and position.at_start is None:
            raise NotResumableError(
                f"{type(phase).__name__}.epoch goes over its data by itself, so a run could not be resumed in the "
                f"middle of it.\n"
                f"Fix: let it go over its data with treadle.authoring.batches:\n"
                f"    for batch in batches(learner, self, data): ..."
            )
        if phase.training:
            self._loss = loss_of(learner.step)
        place = replace(
            between_epochs(position, position.rounds),
            phase=phase_key(type(phase)),
            data=phase.data_name,
            batches=position.skipped + self._taken,
            steps=learner.progress.step,
            digest=digest,
        )
        self._save(learner, place, self._step_value(learner, phase))

    def _after_epoch(self, learner: Any, phase: Phase, rounds: int) -> None:
        if not self._ended:
            return
        if isinstance(phase, AbstractTrainingPhase):
            value = recorded(learner.cbstate, "epoch", phase, "Loss")
            self._loss = loss_of(learner.step) if value is None else value
        if isinstance(phase, self.phase) and self.every_epochs and learner.progress.epoch % self.every_epochs == 0:
            value = self._loss
            if self.metric != "Loss" or not isinstance(phase, AbstractTrainingPhase):
                value = recorded(learner.cbstate, "epoch", phase, self.metric)
                if value is None and self.metric == "Loss":
                    value = loss_of(learner.step)
            self._save(learner, between_epochs(position_of(learner), rounds), value)

    def _step_value(self, learner: Any, phase: Phase) -> float | None:
        """What an entry in the middle of an epoch is compared by: the metric's last value."""
        if isinstance(phase, self.phase):
            value = recorded(learner.cbstate, "step", phase, self.metric)
            return loss_of(learner.step) if value is None and self.metric == "Loss" else value
        known = [other for other in learner.cbstate.get("metricsepoch", ()) if isinstance(other, self.phase)]
        return recorded(learner.cbstate, "epoch", known[-1], self.metric) if known else None

    def _check(self, learner: Any) -> None:
        """Before training: whether the run can be saved and resumed, and whether the folder is free."""
        if self._checked:
            return
        if self._files.whole_run:
            try:
                refuse_unresumable(learner.data)
            except NotResumableError as error:
                alone = "Or keep the model alone, which needs nothing of the data"
                error.add_note(f"{alone}:\n    Checkpointer(folder, whole_run=False)")
                raise
            refuse_unsaveable(capture_run(learner, copy=False).model)
        for other in map(unwrap, learner.callbacks):
            if isinstance(other, Checkpointer) and other is not self and other._files.is_that_of(self._files):
                raise FolderInUseError(f"Two Checkpointers save to {self.folder}.\nFix: give each a folder of its own.")
        self._files.claim()
        self._checked, self._last = True, self.clock()

    def _save(self, learner: Any, place: Place, value: float | None) -> None:
        self._last = self.clock()
        self._files.save(learner, place, self._loss, Score(self.metric, self.phase.__name__, self.mode, value))

    def state_dict(self) -> dict[str, Any]:
        """To which run it belongs, and the training loss for the next name."""
        return {"run": self._files.run, "loss": self._loss}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._files.run, self._loss, self._checked = state["run"], state["loss"], False
