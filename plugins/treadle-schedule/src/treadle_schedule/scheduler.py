"""`Scheduler`: sets hyperparameters along schedules while training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from treadle import Callback, ConflictResolution, Learner, NoConflict, NotDefined, PropDict, Series, Unresolvable, Write
from treadle.phases import AbstractTrainingPhase

from treadle_schedule.hyperparameter import (
    AnyHyperParameter,
    HyperParameter,
    HyperParameterError,
    as_hyperparameter,
    merged_access,
)
from treadle_schedule.schedule import AnySchedule, ScheduleError, as_schedule


class Scheduler(Callback):
    """Set hyperparameters along schedules, at the beginning of every training step.

    The first step gets a schedule's first value. The clock ticks when a step (or an epoch) of a
    training phase has ended: a cancelled step, which has no `StepEnd`, gets its value again at the
    next attempt. Several calls of `fit` are one run; `reset()` starts the schedules again. A schedule
    that ends before the training does is an error at the first step that it has no value for.

    Args:
        schedules: Maps hyperparameters, or classes of them, to schedules: numbers, or callables from
            the number of the step, counted from 1, to a value.
        each: What the schedules count: training steps, each of one batch, or training epochs.
            Default: steps.

    Attributes:
        t: The number of the step or epoch that is next or under way, counted from 1.

    Reads: what the hyperparameters read.
    Writes: what the hyperparameters write, and `cbstate.hyperparams`: for each of them, by its
        name, a `Series` of its values under the number of completed training steps. Of a value for
        each parameter group the last one is recorded.

    Raises:
        HyperParameterError: if a key is not a hyperparameter, or two of them set the same thing.
        ScheduleError: if a value is not a schedule, or `each` is neither "step" nor "epoch".

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_schedule import Exp, LearningRate
        >>> learner = toy_learner(Scheduler({LearningRate: Exp(start=0.1, decay=0.5)}), nbatches=4)
        >>> _ = learner.fit(1)
        >>> list(learner.cbstate.hyperparams["LearningRate"].values)
        [0.1, 0.05, 0.025, 0.0125]
    """

    run_after = ("to_device", "to_gpu")  # which may exchange what the optimizer holds

    def __init__(
        self,
        schedules: Mapping[AnyHyperParameter, AnySchedule | float],
        *,
        each: Literal["step", "epoch"] = "step",
    ) -> None:
        self.schedules = _checked(schedules)
        if each not in ("step", "epoch"):
            raise ScheduleError(f"Scheduler(each) has an invalid value: {each!r}.\nFix: pass 'step' or 'epoch'.")
        self.each = each
        self.t = 1
        self.hyperparameters = tuple(self.schedules)
        self.state_access = merged_access([*(H.state_access for H in self.schedules), {"cbstate.hyperparams": Write}])

    def reset(self) -> None:
        """Start the schedules again at their first values. The record goes on."""
        self.t = 1

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        if not other.hyperparameters:
            return NotDefined()
        for H in self.schedules:
            if any(H.clashes_with(another) for another in other.hyperparameters):
                return Unresolvable(f"both set the hyperparameter {H.name}, and only one of them can.")
        return NoConflict()

    def on_init(self, learner: Learner) -> None:
        if "hyperparams" not in learner.cbstate:
            learner.cbstate.hyperparams = PropDict()
        for H in self.schedules:
            learner.cbstate.hyperparams.setdefault(H.name, Series())

    def on_step_begin(self, learner: Learner, phase: AbstractTrainingPhase) -> None:
        steps = learner.progress.steps
        for H, schedule in self.schedules.items():
            try:
                value = schedule(self.t)
                H.set(learner, value)
            except Exception as error:
                error.add_note(f"Scheduler was to set {H.name} for training {self.each} {self.t}.")
                raise
            record = learner.cbstate.hyperparams[H.name]
            if not len(record) or record.iterations[-1] != steps:  # else it repeats a cancelled step
                record.push(steps, value[-1] if isinstance(value, (tuple, list)) else value)

    def on_step_end(self, phase: AbstractTrainingPhase) -> None:
        if self.each == "step":
            self.t += 1

    def on_epoch_end(self, phase: AbstractTrainingPhase) -> None:
        if self.each == "epoch":
            self.t += 1

    def state_dict(self) -> dict[str, Any]:
        """Where the schedules stand. The schedules themselves are passed again when a run is resumed."""
        return {"t": self.t}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.t = state["t"]


def _checked(schedules: object) -> dict[HyperParameter, AnySchedule]:
    """The hyperparameters and their schedules."""
    if not isinstance(schedules, Mapping) or not schedules:
        raise ScheduleError(
            f"Scheduler needs a mapping of hyperparameters to schedules, got {schedules!r}.\n"
            f"Fix: write, for example:\n    Scheduler({{LearningRate: Exp(start=0.1, decay=0.9)}})"
        )
    checked: dict[HyperParameter, AnySchedule] = {}
    for key, schedule in schedules.items():
        H = as_hyperparameter(key)
        for other in checked:
            if H.clashes_with(other):
                raise HyperParameterError(
                    f"Scheduler: {other.name} and {H.name} set the same thing.\nFix: leave one of them out."
                )
        checked[H] = as_schedule(schedule, f"Scheduler: {H.name}")
    return checked
