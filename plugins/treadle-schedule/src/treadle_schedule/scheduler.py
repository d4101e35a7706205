"""`Scheduler`: sets hyperparameters along schedules while training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from treadle import Callback, ConflictResolution, Learner, Phase, PropDict, Read, Series, Write
from treadle.authoring import handlers, length_of, position_of
from treadle.phases import AbstractTrainingPhase

from treadle_schedule.hyperparameter import (
    AnyHyperParameter,
    HyperParameter,
    HyperParameterError,
    as_hyperparameter,
    merged_access,
    resolution,
)
from treadle_schedule.optimizer_values import Momentum
from treadle_schedule.schedule import AnySchedule, Schedule, ScheduleError, ScheduleRangeError, as_schedule, longer
from treadle_schedule.schedule import length_of as last_step_of
from treadle_schedule.torch_schedule import TorchMomentum, TorchSchedule

Unit = Literal["update", "step", "epoch"]
UNITS: tuple[Unit, ...] = ("update", "step", "epoch")


class Scheduler(Callback):
    """Set hyperparameters along schedules, at the beginning of every training step.

    The first step gets a schedule's first value. The clock ticks when a step or an epoch of a
    training phase has ended: a cancelled step, which has no `StepEnd`, gets its value again at the
    next attempt. Several calls of `fit` are one run; `reset()` starts the schedules again. A schedule
    with fewer steps left than a fit makes is refused when the fit begins. Where that is not known then,
    since data have no length or another callback decides about steps, it is an error at the first step
    that it has no value for.

    Args:
        schedules: Maps hyperparameters, or classes of them, to schedules: numbers, or callables from
            the number of the step, counted from 1, to a value. A number is for the first parameter group of
            the optimizer, and the others keep their ratio to it.
        each: What the schedules count: updates of the parameters, which are training steps without those
            that only add to the gradients; all training steps; or training epochs. Default: updates.

    Attributes:
        t: The number of the update, step or epoch that is next or under way, counted from 1.

    Reads: what the hyperparameters read; `data` and `callbacks`, for the number of steps of a fit.
    Writes: what the hyperparameters write, and `cbstate.hyperparams`: for each of them, by its
        name, a `Series` of its values under the number of completed training steps. Of a value for
        each parameter group the last one is recorded.

    Raises:
        HyperParameterError: if a key is not a hyperparameter, or two of them set the same thing.
        ScheduleError: if a value is not a schedule, or leaves out the momentum that it cycles, or `each` has an
            invalid value.
        ScheduleRangeError: when a fit begins, if a schedule ends before it.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_schedule import Exp, LearningRate
        >>> learner = toy_learner(Scheduler({LearningRate: Exp(start=0.1, decay=0.5)}), nbatches=4)
        >>> _ = learner.fit(1)
        >>> list(learner.cbstate.hyperparams["LearningRate"].values)
        [0.1, 0.05, 0.025, 0.0125]
    """

    run_after = ("to_device", "to_gpu")  # which may exchange what the optimizer holds

    def __init__(self, schedules: Mapping[AnyHyperParameter, AnySchedule | float], *, each: Unit = "update") -> None:
        self.schedules = _checked(schedules)
        if each not in UNITS:
            raise ScheduleError(
                f"Scheduler(each) has an invalid value: {each!r}.\nFix: pass 'update', 'step' or 'epoch'."
            )
        self.each = each
        self.t = 1
        self.hyperparameters = tuple(self.schedules)
        own = {"cbstate.hyperparams": Write, "data": Read, "callbacks": Read}
        self.state_access = merged_access([*(H.state_access for H in self.schedules), own])

    def reset(self) -> None:
        """Start the schedules again at their first values. The record goes on."""
        self.t = 1

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        return resolution(self, other)

    def on_init(self, learner: Learner) -> None:
        if "hyperparams" not in learner.cbstate:
            learner.cbstate.hyperparams = PropDict()
        for H in self.schedules:
            learner.cbstate.hyperparams.setdefault(H.name, Series())

    def on_fit_begin(self, learner: Learner) -> None:
        """Refuse a fit in which a hyperparameter cannot be set, or a schedule ends."""
        for H in self.schedules:
            H.check(learner)
        position = position_of(learner)
        wanted = ticks(learner, self.each)
        done = 0 if position.resumption is not None else self.t - 1  # whose state is put back after this
        for H, schedule in self.schedules.items():
            length = last_step_of(schedule)
            if wanted == 0 or length - done >= (wanted or 1):
                continue
            left = max(int(length) - done, 0)
            fix = longer(length) if isinstance(schedule, Schedule) else "make it longer."
            raise ScheduleRangeError(
                f"Scheduler: {H.name}: {schedule} has {left} of {int(length)} {self.each}s left, and this fit makes "
                f"{wanted or 'more'}.\nFix: {fix}\nor start it again:\n    scheduler.reset()"
            )

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

    def on_step_end(self, learner: Learner, phase: AbstractTrainingPhase) -> None:
        if self.each == "step" or (self.each == "update" and not learner.progress.accumulated):
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
    for H, schedule in checked.items():
        if cycling := next((part for part in parts_of(schedule) if is_alone(part, checked)), None):
            raise ScheduleError(
                f"Scheduler: {H.name}: {cycling} cycles the momentum as well, and nothing sets it.\n"
                f"Fix: set both, or pass cycle_momentum=False to the schedule:\n"
                f"    Scheduler({{LearningRate: schedule, Momentum: schedule.momentum}})"
            )
    return checked


def parts_of(schedule: object) -> Iterator[object]:
    """A schedule, and those that it is made of."""
    yield schedule
    if isinstance(schedule, TorchMomentum | TorchSchedule):
        return
    if isinstance(schedule, Schedule | tuple):
        for part in vars(schedule).values() if isinstance(schedule, Schedule) else schedule:
            yield from parts_of(part)


def is_alone(part: object, schedules: Mapping[HyperParameter, AnySchedule]) -> bool:
    """Whether it cycles the momentum, and no schedule is for that."""
    has_momentum = any(isinstance(H, Momentum) for H in schedules)
    return isinstance(part, TorchSchedule) and part.cycles_momentum and not has_momentum


def ticks(learner: Any, each: Unit) -> int | None:
    """How many updates, steps or epochs of training the fit that begins makes if nothing is cancelled; None if unknown.

    Unknown is what a phase with an `epoch` of its own does, or a callback that overrides an epoch or a step, and how
    many updates a callback makes of the steps.
    """
    position = position_of(learner)
    phases = [phase for phase in position.phases if isinstance(phase, AbstractTrainingPhase)]
    n = position.n or 0
    if each == "epoch" or not n * len(phases):
        return n * len(phases)
    for callback in learner.callbacks:
        hooks = handlers(callback)
        if each == "update" and "update" in hooks:
            return None
        if any(name in hooks and not hooks[name].wrapper for name in ("epoch", "step")):
            return None
    lengths = [steps_of(learner, phase) for phase in phases]
    return None if None in lengths else n * sum(filter(None, lengths))


def steps_of(learner: Any, phase: Phase) -> int | None:
    """The number of steps in an epoch of a phase, if it is known."""
    if type(phase).epoch is not Phase.epoch or phase.data_name not in learner.data:
        return None
    return length_of(learner.data[phase.data_name])
