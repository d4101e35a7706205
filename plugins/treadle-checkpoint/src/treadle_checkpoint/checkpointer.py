"""`Checkpointer`: save the run during training."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from signal import SIGTERM, Signals
from typing import Any, Self

import torch
from treadle import (
    AbstractTrainingPhase,
    AbstractValidationPhase,
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
    OpenEpochs,
    file_path,
    handlers,
    instance_of,
    one_of,
    position_of,
    refuse_unsaveable_model,
    refuse_unsaveable_run,
    unwrap,
    whole_number,
)
from treadle.errors import CheckpointError, NotResumableError

from treadle_checkpoint.epoch_loss import EpochLoss
from treadle_checkpoint.epoch_under_way import EpochUnderWay
from treadle_checkpoint.errors import FolderInUseError
from treadle_checkpoint.late_state import KnownState
from treadle_checkpoint.model_file import model_digests, refuse_sharded
from treadle_checkpoint.place import Place
from treadle_checkpoint.processes import Processes
from treadle_checkpoint.ranking import Ranking, value_of
from treadle_checkpoint.run_folder import RunFolder
from treadle_checkpoint.save_times import SaveTimes
from treadle_checkpoint.stop_signals import StopSignals, checked_signals


class Checkpointer(Callback):
    """Save the whole run, by default after every epoch of training, so that it can be resumed.

    It saves when no callback has anything left to do in a step or an epoch: it is the outermost of those that wrap
    these, and between two steps it saves when the next batch is asked for. So what is saved does not depend on the
    order of the callbacks, and a weight swap that is undone at the end of an epoch is undone.

    A model with weights that are NaN or infinite is not saved; a warning says so. A fit that is cancelled is saved
    where it was, in the middle of an epoch as well. At the end of a fit, the checkpoint of its last epoch is
    completed by the state after the validation that followed, so that resuming a finished run does nothing again.

    A checkpoint is ranked by the value of a validation that was measured with its own weights: one that is saved before
    a validation by that one, and it is kept until then. In a fit without validation it is ranked by the training
    value of the epoch at whose end it is saved; what is saved in the middle of an epoch is not ranked then.
    Validation outside of a fit, of a test set, ranks and saves nothing.

    Args:
        folder: Where each checkpoint gets a folder of its own, whose name starts as `checkpoint_epoch_003_loss_0.0123`
            does; the loss is the mean of that epoch of training, as far as it has come. A folder belongs to one run,
            and during a fit to one process.
        keep_top_k: Keep the k best and the newest, remove all others. Default: keep all.
        every_epochs: The number of epochs from save to save. Default: 1, unless steps or minutes are given. In a fit
            that validates by steps, without any of these and `phase`: after each validation, and at the end.
        every_steps: The number of steps from save to save. Default: never.
        every_minutes: The minimum number of minutes from save to save, which is after a step. Default: never.
        metric: What "best" means: the name of a metric that `Metrics` records. The loss is, without
            `Metrics`, the mean of the steps' losses, weighed by the rows of their batches.
        phase: The type of the phases whose metric it is, and after whose epochs to save; after one inside of another
            epoch, when the step around it has ended. Default: save after epochs of training, and rank by validation,
            in a fit without it by training.
        mode: "min" if lower values of the metric are better, "max" if higher ones are.
        during: The type of the phases in which to count steps and minutes. Default: training phases.
        whole_run: Whether to save all that is needed to resume. Default: yes; else the model alone.
        save_when_cancelled: Whether to save where a fit is cancelled. Default: yes.
        save_on_signal: The signals at which to save when the step under way has ended, and to end the fit: its
            `FitResult.cancelled` names the signal. Default: SIGTERM, which clusters send before they kill.
        clock: Returns the time in seconds. Default: `time.monotonic`.

    Reads: everything, but in operations only: `epoch` and `step`; at `StepEnd` the loss and the rows.

    Raises:
        ArgumentTypeError, ArgumentValueError: for an argument that has an invalid value.
        FolderInUseError: before training, if the folder holds checkpoints of another run, or another one saves to it.
        NotResumableError: before training, if the run could not be resumed, because of its data or its optimizer.
        NotSaveableError: before training, if the model, the optimizer, a callback or an entry of `cbstate` keeps what
            no checkpoint can hold.
        CheckpointError: before training, if the folder cannot be made or written to; and if there is no metric of that
            name, unless a function could return a dict with it: then after the first step.
        DataError: if the loss is to be weighed by rows, and some batches of an epoch have none.

    Example:
        >>> import tempfile
        >>> from treadle import toy_learner
        >>> from treadle_checkpoint import checkpoints
        >>> folder = tempfile.mkdtemp()
        >>> _ = toy_learner(Checkpointer(folder, keep_top_k=1)).fit(3)
        >>> [checkpoint.epoch for checkpoint in checkpoints(folder)]
        [3]
    """

    essential = True
    optional_state = True

    @classmethod
    def example(cls) -> Self:
        return cls("runs/checkpoints")

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep_top_k: int | None = None,
        every_epochs: int | None = None,
        every_steps: int | None = None,
        every_minutes: float | None = None,
        metric: str = "Loss",
        phase: type[Phase] | None = None,
        mode: str = "min",
        during: type[Phase] = AbstractTrainingPhase,
        whole_run: bool = True,
        save_when_cancelled: bool = True,
        save_on_signal: Iterable[Signals] = (SIGTERM,),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = file_path(folder, "Checkpointer(folder)", "Checkpointer('runs/digits')")
        if keep_top_k is not None:
            whole_number(keep_top_k, "keep_top_k", "Checkpointer(folder, keep_top_k=3)", least=0)
        one_of(mode, "Checkpointer(mode)", ("min", "max"))
        for name, flag in (("whole_run", whole_run), ("save_when_cancelled", save_when_cancelled)):
            instance_of(flag, f"Checkpointer({name})", bool, f"Checkpointer(folder, {name}=False)")
        instance_of(metric, "Checkpointer(metric)", str, 'Checkpointer(folder, metric="Accuracy")')
        self.every_epochs, self.every_steps, self.every_minutes = every_epochs, every_steps, every_minutes
        self.keep_top_k, self.metric, self.phase, self.mode, self.during = keep_top_k, metric, phase, mode, during
        self.whole_run, self.save_when_cancelled, self.clock = whole_run, save_when_cancelled, clock
        self.save_on_signal = checked_signals(save_on_signal)
        self.times = SaveTimes(every_epochs, every_steps, every_minutes, phase, during, clock)
        self._files = RunFolder(self.folder, keep_top_k, whole_run=whole_run)
        self._ranking = Ranking(metric, phase, mode)
        self._signals = StopSignals(self.save_on_signal)
        self._checked = False  # whether it is known that the run can be saved, in this fit
        self.loss: float | None = None  # of the last epoch of training, as far as it had come when it was saved
        self.losses: OpenEpochs[EpochLoss] = OpenEpochs()  # of the epochs under way
        self._phase: Phase | None = None  # for which the following is at hand, so that a step looks up nothing
        self._loss: EpochLoss | None = None
        self._epoch: EpochUnderWay | None = None  # the outermost

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

    def request_save(self) -> None:
        """Save when the step under way has ended; who asks where an epoch begins or ends, when that epoch has ended.

        A handler, a signal handler and another thread may call it; it sets a flag. A phase that goes over its data by
        itself is saved when its epoch has ended. Outside of a fit it holds for the next one.

        Example:
            >>> import tempfile
            >>> from treadle import CustomCallback, StepEnd, TrainingPhase, toy_learner
            >>> from treadle_checkpoint import checkpoints
            >>> folder = tempfile.mkdtemp()
            >>> saving = Checkpointer(folder)
            >>> def wish(learner):
            ...     if learner.progress.steps == 5:
            ...         saving.request_save()
            >>> _ = toy_learner(saving, CustomCallback(wish, StepEnd, TrainingPhase)).fit(1)
            >>> [checkpoint.steps for checkpoint in checkpoints(folder)]
            [5, 16]
        """
        if self._epoch is not None and self._epoch.beginning:
            self.times.requested_in_epoch = True
        else:
            self.times.requested = True

    def on_fit_begin(self, learner: Any) -> None:
        if not position_of(learner).nested:
            self._signals.begin(position_of(learner))

    @hookimpl(wrapper=True)
    def on_epoch_begin(self) -> Generator[None, object, object]:
        under_way = self._epoch
        if under_way is None or under_way.depth:
            return (yield)
        under_way.beginning = True
        try:
            return (yield)
        finally:
            under_way.beginning = False

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        if phase is not self._phase:
            self._phase, self._loss = phase, self.losses.innermost(learner, phase)
        if self._loss is not None:
            self._loss.record(learner.step)
        if self._signals.received is not None and self._epoch is not None and self._epoch.can_end_after_step:
            self._signals.ask()

    def added_up(self, learner: Any, phase: Phase) -> list[EpochLoss]:
        loss = self.losses.innermost(learner, phase)
        return [] if loss is None else [loss]

    def on_epoch_end(self) -> None:
        under_way = self._epoch
        if under_way is not None and under_way.depth:
            under_way.inner_ended = True
        elif under_way is not None:  # so that `throttle(Checkpointer(folder), EpochEnd, freq=5)` works
            under_way.ended = True

    def on_fit_end(self, learner: Any) -> None:
        if self._epoch is None:  # else it is the end of a fit inside of an epoch
            self._files.release()
            self._checked, self._files.newest, self._ranking.inner = False, None, None
        if not position_of(learner).nested:
            self._signals.end()
            self._signals.ask()

    def saves_cancelled(self) -> bool:
        """Whether to save where the fit is cancelled."""
        return Processes().any(self.save_when_cancelled or self._signals.received is not None)

    @hookimpl(wrapper=True)
    def epoch(self, learner: Any, phase: Phase) -> Generator[None, object, object]:
        self.losses.begin(learner, phase, EpochLoss())
        self._phase = None
        if position_of(learner).nested:
            return (yield from self._inner_epoch(learner, phase))
        self._check(learner)
        self._signals.listen()
        self._epoch = under_way = EpochUnderWay(learner, phase, self)
        under_way.open()
        begun = self._ranking.begin(learner, phase)
        try:
            result = yield
            self._ask()
        except CancelFittingException as cancel:
            if under_way.is_over:
                under_way.close()
                self._after_epoch(learner, under_way, begun, cancel)
            else:
                under_way.save_cancelled(cancel, in_step=False)
            raise
        finally:
            under_way.close()
            self._epoch = None
            if position_of(learner).length is None:
                self._files.lock.release()
        self._after_epoch(learner, under_way, begun)
        return result

    def _inner_epoch(self, learner: Any, phase: Phase) -> Generator[None, object, object]:
        """An epoch inside of another one, or of a step."""
        under_way = self._epoch
        begun = self._ranking.begin(learner, phase)
        if under_way is not None:
            under_way.depth, under_way.inner_ended = under_way.depth + 1, False
        try:
            result = yield
        except CancelFittingException:
            if under_way is not None and under_way.inner_ended:  # its value counts, as its epoch does
                self._rank(learner, phase, begun, self.losses.end(learner, phase))
            raise
        finally:
            self._phase = None
            if under_way is not None:
                under_way.depth, under_way.inner_ended = under_way.depth - 1, False
        self._rank(learner, phase, begun, self.losses.end(learner, phase))
        if under_way is not None and self._due_after(learner, phase):
            self.times.requested = True
        return result

    def _due_after(self, learner: Any, phase: Phase) -> bool:
        """Whether to save after an epoch of a phase; by default after validation, where that is by steps."""
        length = position_of(learner).length
        if self.times.by_default and length is not None and length.by_steps and length.validation:
            return bool(phase == length.validation[-1])
        return self.times.due_after_epoch(phase, learner.progress.epoch)

    @hookimpl(wrapper=True)
    def step(self, learner: Any, phase: Phase) -> Generator[None, object, object]:
        under_way = self._epoch
        if under_way is None:
            return (yield)
        under_way.depth += 1
        try:
            result = yield
            self._ranking.check_known(learner)
            if under_way.depth == 1 and not under_way.over_batches and under_way.due():
                raise NotResumableError(
                    f"{type(under_way.phase).__name__}.epoch goes over its data by itself, so a run could not be "
                    f"resumed in the middle of it.\n"
                    f"Fix: let it go over its data with treadle.authoring.batches:\n"
                    f"    for batch in batches(learner, self, data): ..."
                )
            return result
        except CancelFittingException as cancel:
            if under_way.depth == 1 and Processes().size == 1:  # else when all are known to have ended the step
                under_way.save_cancelled(cancel, in_step=True)
            raise
        finally:
            if under_way.depth == 1:
                under_way.end_step()
            under_way.depth -= 1

    def _ask(self) -> None:
        """End the fit if a signal came, on whatever process."""
        self._signals.ask(Processes().largest(self._signals.received or 0))

    def _rank(self, learner: Any, phase: Phase, begun: Any, loss: Any) -> None:
        """Rank what was saved before this validation, with the same weights."""
        if (weights := self._ranking.end(learner, phase, begun, loss)) is not None:
            self._files.rank(weights, self._ranking.score(learner, weights, None))

    def _after_epoch(self, learner: Any, under_way: EpochUnderWay, begun: Any, cancel: Any = None) -> None:
        phase, position, training = under_way.phase, position_of(learner), None
        loss = self.losses.end(learner, phase) or EpochLoss()
        if isinstance(phase, AbstractTrainingPhase):
            before = under_way.recorded
            self.loss = value_of(learner.cbstate, phase, "Loss", before["Loss"], loss)
            if self._ranking.by_training(learner, phase):
                training = phase, value_of(learner.cbstate, phase, self.metric, before[self.metric], loss)
        self._rank(learner, phase, begun, loss)
        place, length = under_way.place_after(), position.length
        if self.whole_run:
            place = place.ended_by(cancel, learner.callbacks)
        in_vain = length is None and isinstance(phase, AbstractValidationPhase)  # a test set, perhaps
        due = under_way.ended and self._due_after(learner, phase) and not in_vain
        counts, steps = under_way.counts_after(), learner.progress.steps
        is_over = length is not None and length.next_phase(counts, steps) is None
        if Processes().any(due or self.times.requested or self.times.requested_in_epoch or under_way.due()):
            self.save(learner, place, training)
        elif cancel is not None or is_over:
            with torch.no_grad():
                complete = self._files.finish(learner, place, lambda: model_digests(learner))
            at_end = length is not None and length.by_steps and self.times.by_default
            wanted = at_end or Processes().size > 1 if cancel is None else self.saves_cancelled()
            if not complete and wanted:
                self.save(learner, place, training)

    def _check(self, learner: Any) -> None:
        """Before training: whether the run can be saved and resumed, and whether the folder is free."""
        Processes().together(lambda: self._check_alone(learner))
        self._files.claim()
        self._checked = position_of(learner).length is not None

    def _check_alone(self, learner: Any) -> None:
        """The same, as far as one process knows it."""
        self._ranking.check_known(learner)
        if not self._checked:
            refuse_sharded(learner.model)
            if self.every_minutes is not None and Processes().size > 1:
                raise CheckpointError(
                    "Checkpointer(every_minutes=...) goes by the clock of each process, and they would not save "
                    "together.\nFix: save by steps:\n    Checkpointer(folder, every_steps=1000)"
                )
            if self.whole_run:
                try:
                    refuse_unsaveable_run(learner)
                    self._files.known = KnownState.of(learner)
                except NotResumableError as error:
                    alone = "Or keep the model alone, which needs nothing of the data"
                    error.add_note(f"{alone}:\n    Checkpointer(folder, whole_run=False)")
                    raise
            else:
                refuse_unsaveable_model(learner.model)
            for other in map(unwrap, learner.callbacks):
                if isinstance(other, Checkpointer) and other is not self and other._files.is_that_of(self._files):
                    raise FolderInUseError(
                        f"Two Checkpointers save to {self.folder}.\nFix: give each a folder of its own."
                    )
            self.times.start_clock()

    def save(self, learner: Any, place: Place, training: tuple[Phase, float | None] | None = None) -> None:
        """Save, at this place; for who asks for a save there is `request_save`.

        Args:
            training: The phase of training that has ended there, and its value; None elsewhere.
        """
        self.times.saved(in_epoch=place.phase is not None)
        self._files.save(learner, place, self.loss, lambda weights: self._ranking.score(learner, weights, training))

    def state_dict(self) -> dict[str, Any]:
        """To which run it belongs, the losses for the next name and rank, and what was measured and saved last."""
        return {
            "run": self._files.run,
            "loss": self.loss,
            "losses": [loss.state_dict() for loss in self.losses.values()],
            "newest": self._files.newest,
            "ranking": self._ranking.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._files.run, self._files.newest = state["run"], state["newest"]
        self.loss, self._checked = state["loss"], False
        self._ranking.load_state_dict(state["ranking"])
        self.losses.load(map(EpochLoss.loaded, state["losses"]))
        self._phase = None
