"""`LRFinder`: a trial run with a rising learning rate, which leaves no trace."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from loguru import logger
from treadle import Callback, ConflictResolution, Learner, NotDefined, Read, RunFirst, Write, accesses
from treadle.authoring import handlers, instance_of, list_of, overlaps, preserved_random_state, preserved_state
from treadle.errors import CancelFittingException
from treadle.events import EpochBegin, EpochEnd, FitBegin, FitEnd, Init, StepEnd
from treadle.operations import Epoch, Operation, Step
from treadle.phases import AbstractTrainingPhase, Phase, TrainingPhase

from treadle_schedule.hyperparameter import set_hyperparameter
from treadle_schedule.lr_finder_result import LRFinderError, LRFinderResult
from treadle_schedule.optimizer_values import LearningRate
from treadle_schedule.schedule import Count, Flag, Positive, check

#: The weight of the earlier losses in the smoothed loss.
BETA = 0.98

#: The trial stops where the smoothed loss is above its lowest value by more than this many times that value.
RISE = 3

#: Outside of what a step computes: where a callback looks back, stops, saves or restores.
AROUND_STEPS = (Init, FitBegin, FitEnd, Epoch, EpochBegin, EpochEnd, StepEnd)

#: What `find(callbacks=...)` must be, for `list_of`.
CALLBACKS = ("find(callbacks)", Callback, "LRFinder().find(learner, callbacks=[callback])")


@dataclass(frozen=True)
class LRFinder:
    """Find a learning rate: train with one that rises from update to update, and look at the losses.

    The trial trains the learner's own model, with its optimizer and data, and puts back everything
    that it changed, also if it fails: parameters, buffers and modes of the model, the optimizer's state,
    the state of callbacks, the random generators of Python, NumPy, torch and the loader. A `fit` after
    `find` gives bit for bit what it would have given without.

    The trial uses the callbacks that change what a step computes, such as `ToDevice` or one that clips
    gradients, and not those that watch, stop, save or set hyperparameters. The result says which took part and why
    the others did not; of one that is left out although it handles epochs and writes more than `cbstate`, a warning
    says so too. `callbacks=[...]` brings it in. Where gradients are accumulated, the loss of an update is the mean over
    its batches; an update that is skipped, as by a gradient scaler, is made again. The first parameter group gets the
    learning rate, and the others keep their ratio to it.

    Args:
        start: The learning rate of the first update. Default: 1e-7.
        end: What the learning rate rises to, one update after the last. Default: 10.
        num_it: The number of updates, which are steps unless a callback accumulates gradients. Default: 100.
        stop_div: Whether to stop where the smoothed loss is more than four times its lowest value, or NaN.
            Default: True.

    Raises:
        ScheduleError: if an argument has an invalid value.
        LRFinderError: if `end` is not greater than `start`.

    Example:
        >>> import torch
        >>> from treadle import toy_learner
        >>> learner = toy_learner()
        >>> result = LRFinder(start=1e-4, end=100).find(learner)
        >>> result
        LRFinderResult(...)
        >>> 0.001 < result.suggestion() < 0.1
        True
        >>> learner.model.weight.item(), learner.progress.steps
        (0.0, 0)

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (2015).
    """

    start: Positive = 1e-7
    end: Positive = 10.0
    num_it: Count = 100
    stop_div: Flag = True

    def __post_init__(self) -> None:
        check(type(self), vars(self))
        if not self.start < self.end:
            raise LRFinderError(
                f"LRFinder: `end` must be greater than `start`, not {self.end} after {self.start}.\n"
                f"Fix: write, for example:\n    LRFinder(start=1e-7, end=10)"
            )

    def find(
        self,
        learner: Learner,
        data: Any = None,
        *,
        phase: Phase | None = None,
        callbacks: Iterable[Callback] | None = None,
    ) -> LRFinderResult:
        """Make the trial run. The learner is afterwards as it was before.

        Args:
            data: An iterable of batches, run over again as often as needed. Default: the learner's
                data of that phase.
            phase: The phase to train in. Default: `TrainingPhase()`.
            callbacks: The callbacks of the trial. Default: those of the learner that handle an operation of
                a step or write more than `cbstate` before a step's end, unless they set hyperparameters;
                and those that provide what these read.

        Returns:
            The losses, from which it makes suggestions and a picture.

        Raises:
            DataError: if there are no data to train with.
            ArgumentTypeError: if it gets something else than a learner, a phase or callbacks.
            LRFinderError: if the data are an iterator, which the trial would use up; or the steps of
                the phase have no loss.
            NotSaveableError: if a parameter of the model is lazy.
        """
        instance_of(learner, "find(learner)", Learner, "LRFinder().find(learner)")
        phase = TrainingPhase() if phase is None else phase
        instance_of(phase, "find(phase)", Phase, "LRFinder().find(learner, phase=TrainingPhase())")
        name = str(phase.data_name)
        if data is None and name in learner.data:
            data = learner.data[name]
        if hasattr(data, "__next__"):
            raise LRFinderError(
                f"The training data are a {type(data).__name__}, which can be read once, and the trial would use "
                f"it up.\nFix: pass other data:\n    LRFinder().find(learner, data=loader)"
            )
        chosen = participants(learner.callbacks) if callbacks is None else list_of(callbacks, *CALLBACKS)
        left_out = {
            callback.name: reason_for(callback) if callbacks is None else "it is not in the list that was passed"
            for callback in learner.callbacks
            if callback not in chosen
        }
        if callbacks is None:
            warn_of(callback for callback in learner.callbacks if callback not in chosen)
        if torch.cuda.is_available():
            torch.cuda.init()  # type: ignore[no-untyped-call]  # so that its random generators are there to be put back
        holders = [*learner.models, *learner.optimizers, learner.lossfn, *chosen]
        with preserved_random_state(), preserved_state(holders, [data]):
            return self._run(learner, {} if data is None else {name: data}, phase, chosen, left_out)

    def _run(
        self,
        learner: Learner,
        data: dict[str, Any],
        phase: Phase,
        callbacks: Sequence[Callback],
        left_out: dict[str, str],
    ) -> LRFinderResult:
        for model in learner.models:
            model.zero_grad(set_to_none=True)  # the gradients of an unfinished update stay out of the trial
        sweep = Sweep(self)
        trial = learner.trial([*callbacks, sweep])
        result = trial.fit(self.num_it, data, phases=[phase])  # an epoch has at least one step
        stopped = str(result.cancelled) if result.cancelled else "the data ended"
        return LRFinderResult(
            lrs=tuple(sweep.lrs),
            losses=tuple(sweep.losses),
            smoothed=tuple(sweep.smoothed),
            num_it=self.num_it,
            stopped=stopped,
            callbacks=tuple(callback.name for callback in callbacks),
            left_out=left_out,
        )


class Sweep(Callback):
    """Raise the learning rate geometrically from update to update as a finder says, and end the fit.

    It notes the loss of each update, before the parameters are changed by it: the mean over its steps. An update that
    is cancelled or skipped, as by a gradient scaler that looks for its scale, is made again with the same rate, unless
    a loss is not finite. In a phase that makes no updates it goes by steps.

    Reads: step.loss, step.accumulating
    Writes: optimizer
    """

    run_after = ("to_device", "to_gpu")
    state_access = {"optimizer": Write, "step.loss": Read, "step.accumulating": Read}

    def __init__(self, finder: LRFinder) -> None:
        self.name = "LRFinder"
        self.finder = finder
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self._of_update: list[float] = []
        self._updates = 0
        self._lr = self._mean = 0.0
        self._lowest = math.inf

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        """Another writer of the optimizer runs first, so that the learning rate is the one that is set here."""
        return RunFirst(other) if "optimizer" in accesses(other, Write) else NotDefined()

    def on_step_begin(self, learner: Learner, phase: AbstractTrainingPhase) -> None:
        finder = self.finder
        self._lr = finder.start * (finder.end / finder.start) ** (len(self.lrs) / finder.num_it)
        set_hyperparameter(learner, LearningRate, self._lr)
        self._updates = learner.progress.updates
        if not learner.progress.accumulated:
            self._of_update.clear()  # of a step that was cancelled

    def on_step_end(self, learner: Learner, phase: AbstractTrainingPhase) -> None:
        step = learner.step
        if "loss" not in step:
            raise LRFinderError(
                f"LRFinder goes by `step.loss`, and the steps of {phase} have none.\n"
                f"Fix: let the phase set it (state.loss = ...), or pass another phase:\n"
                f"    LRFinder().find(learner, phase=TrainingPhase())"
            )
        loss = step.loss.item()  # the number is needed here and now, to know when to stop
        self._of_update.append(loss)
        makes_updates = "accumulating" in step
        if not makes_updates or learner.progress.updates > self._updates or not math.isfinite(loss):
            self._note()
        elif not step.accumulating:
            self._of_update.clear()  # the update was skipped, and is made again

    def on_epoch_end(self, learner: Learner, phase: AbstractTrainingPhase) -> None:
        if self._of_update and learner.progress.updates > self._updates:  # it was completed after the last step
            self._note()

    def _note(self) -> None:
        """Note the loss of an update that was made, and stop when it is time to."""
        loss = sum(self._of_update) / len(self._of_update)
        self._of_update.clear()
        self.lrs.append(self._lr)
        self.losses.append(loss)
        self._mean = BETA * self._mean + (1 - BETA) * loss
        smoothed = self._mean / (1 - BETA ** len(self.losses))
        self.smoothed.append(smoothed)
        self._lowest = min(self._lowest, smoothed)
        if self.finder.stop_div and math.isnan(smoothed):
            raise CancelFittingException("the loss is NaN")
        if self.finder.stop_div and smoothed > self._lowest + RISE * abs(self._lowest):  # also right below zero
            raise CancelFittingException("the loss diverged")
        if len(self.lrs) == self.finder.num_it:
            raise CancelFittingException("all steps were made")


def participants(callbacks: Iterable[Callback]) -> list[Callback]:
    """Those that change what a step computes, and those that provide what these read: a trial needs no others."""
    callbacks = list(callbacks)
    chosen = [callback for callback in callbacks if _changes_steps(callback)]
    while providers := [callback for callback in callbacks if callback not in chosen and _provides(callback, chosen)]:
        chosen += providers
    return chosen


def _changes_steps(callback: Callback) -> bool:
    """Whether a callback handles an operation of a step, or writes more than `cbstate` before its end.

    One that sets hyperparameters does not count, nor does one that wraps whole steps to look at something.
    """
    if callback.hyperparameters:
        return False
    hooks = [handler.hook for handler in handlers(callback).values() if handler.hook not in AROUND_STEPS]
    if writes_beyond_cbstate(callback):
        return bool(hooks)
    looks = bool(accesses(callback, Read))
    return any(issubclass(hook, Operation) and not (hook is Step and looks) for hook in hooks)


def _provides(callback: Callback, readers: Iterable[Callback]) -> bool:
    """Whether a callback writes an entry of `cbstate` that others read."""
    return any(
        overlaps(read, written)
        for reader in readers
        for read in accesses(reader, Read)
        for written in accesses(callback, Write)
        if overlaps("cbstate", written)
    )


def writes_beyond_cbstate(callback: Callback) -> list[str]:
    """The paths outside of `cbstate` that a callback writes."""
    return sorted(path for path in accesses(callback, Write) if not overlaps("cbstate", path))


def reason_for(callback: Callback) -> str:
    """Why a callback is left out."""
    if callback.hyperparameters:
        return f"it sets {', '.join(H.name for H in callback.hyperparameters)}"
    if written := writes_beyond_cbstate(callback):
        hooks = ", ".join(sorted(handlers(callback))) or "nothing"
        return f"it writes {', '.join(written)}, and handles no more than {hooks}, outside of what a step computes"
    return "it changes nothing in a step"


def warn_of(left_out: Iterable[Callback]) -> None:
    """Warn of those that may change how epochs train; whether they do, only the user knows."""
    for callback in left_out:
        if not callback.hyperparameters and writes_beyond_cbstate(callback) and "epoch" in handlers(callback):
            logger.warning(
                f"LRFinder left out {callback.name}: {reason_for(callback)}.\n"
                f"Fix: if the trial needs it, name all callbacks that take part:\n"
                f"    LRFinder().find(learner, callbacks=[...])"
            )
