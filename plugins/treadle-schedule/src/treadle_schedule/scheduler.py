"""`Scheduler`: sets hyperparameters along schedules while training."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, Self

from treadle import Callback, ConflictResolution, Learner, Phase, PropDict, Read, Series, Write
from treadle.access import parts
from treadle.authoring import handlers, length_of, position_of, update_under_way
from treadle.phases import AbstractTrainingPhase, TrainingPhase

from treadle_schedule.hyperparameter import (
    AnyHyperParameter,
    HyperParameter,
    HyperParameterError,
    as_hyperparameter,
    merged_access,
    resolution,
)
from treadle_schedule.optimizer_values import LearningRate, Momentum
from treadle_schedule.schedule import AnySchedule, Schedule, ScheduleError, ScheduleRangeError, as_schedule, longer
from treadle_schedule.schedule import length_of as last_step_of
from treadle_schedule.torch_schedule import TorchMomentum, TorchSchedule

Unit = Literal["update", "step", "epoch"]
UNITS: tuple[Unit, ...] = ("update", "step", "epoch")

#: Where each of them is counted.
TICKS = ("on_update_end", "on_step_end", "on_epoch_end")


class Scheduler(Callback):
    """Set hyperparameters along schedules while training, by default one value for each update of the parameters.

    The first update gets a schedule's first value. Each step begins with the value of the update that its gradients
    are for, so that the forward pass has it too; at `UpdateBegin` it is set again if a step makes several updates. The
    clock ticks at `UpdateEnd`: a step that only adds to the gradients does not count, and an update that was cancelled
    or skipped, as a gradient scaler does, gets its value again at the next attempt. A phase that steps its optimizer
    by itself, without an update, is refused at the end of its first epoch; `each="step"` counts its steps. Several
    calls of `fit` are one run; `reset()` starts the schedules again. A schedule with fewer updates left than a fit
    makes is refused when the fit begins. Where that is not known then, since data have no length or another callback
    decides about steps or updates, it is an error at the first update that it has no value for.

    Args:
        schedules: Maps hyperparameters, or classes of them, to schedules: numbers, or callables from
            the number of the update, counted from 1, to a value. A number is for the first parameter group of
            the optimizer, and the others keep their ratio to it.
        each: What the schedules count: "update", the updates of the optimizers that a hyperparameter is of; "step",
            training steps, whose clock ticks at `StepEnd`; or "epoch", training epochs, at `EpochEnd`.
            Default: "update".

    Attributes:
        t: The number of the update, step or epoch that is next or under way, counted from 1; of the first
            hyperparameter, where the updates are of different models.

    Reads: what the hyperparameters read; `data` and `callbacks`, for the number of updates of a fit.
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

    guard_fix = 'count its steps:\n    Scheduler(..., each="step")'
    run_after = ("to_device", "to_gpu")  # which may exchange what the optimizer holds

    @classmethod
    def example(cls) -> Self:
        return cls({LearningRate: 0.01})

    def __init__(self, schedules: Mapping[AnyHyperParameter, AnySchedule | float], *, each: Unit = "update") -> None:
        self.schedules = _checked(schedules)
        if each not in UNITS:
            raise ScheduleError(
                f"Scheduler(each) has an invalid value: {each!r}.\nFix: pass 'update', 'step' or 'epoch'."
            )
        self.each = each
        self.guard = each == "update"  # without updates the first value would stay for ever
        self.hyperparameters = tuple(self.schedules)
        unused = [hook for hook in TICKS if hook != TICKS[UNITS.index(each)]]
        unused += [] if each == "update" else ["on_update_begin"]
        vars(self).update(dict.fromkeys(unused))  # a handler that is None is none
        own = {"cbstate.hyperparams": Write, "data": Read, "callbacks": Read}
        self.state_access = merged_access([*(H.state_access for H in self.schedules), own])
        self.reset()

    @property
    def t(self) -> int:
        """The number of the update, step or epoch that is next or under way."""
        return self._clocks[self.hyperparameters[0]]

    def reset(self) -> None:
        """Start the schedules again at their first values. The record goes on."""
        self._clocks = dict.fromkeys(self.schedules, 1)
        self._set_for: dict[HyperParameter, int] = {}

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
        for H, schedule in self.schedules.items():
            done = 0 if position.resumption is not None else self._clocks[H] - 1  # whose state is put back after this
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
        for H in self.schedules:
            self._set(learner, H)

    def on_update_begin(self, learner: Learner, phase: AbstractTrainingPhase) -> None:
        models = update_under_way(learner).models
        for H, t in self._clocks.items():
            if self._set_for.get(H) != t and concerns(H, models):
                self._set(learner, H)

    def on_update_end(self, learner: Learner, phase: AbstractTrainingPhase) -> None:
        models = update_under_way(learner).models
        for H in self.schedules:
            self._clocks[H] += concerns(H, models)

    def on_step_end(self, phase: AbstractTrainingPhase) -> None:
        self._tick()

    def on_epoch_end(self, phase: AbstractTrainingPhase) -> None:
        self._tick()

    def _tick(self) -> None:
        for H in self.schedules:
            self._clocks[H] += 1

    def _set(self, learner: Learner, H: HyperParameter) -> None:
        """Set a hyperparameter to its value, and record it."""
        steps, t = learner.progress.steps, self._clocks[H]
        try:
            value = self.schedules[H](t)
            H.set(learner, value)
        except Exception as error:
            error.add_note(f"Scheduler was to set {H.name} for training {self.each} {t}.")
            raise
        self._set_for[H] = t
        record = learner.cbstate.hyperparams[H.name]
        if (
            not len(record) or record.iterations[-1] != steps
        ):  # else it repeats a cancelled step, or is of another update in one
            record.push(steps, value[-1] if isinstance(value, (tuple, list)) else value)

    def state_dict(self) -> dict[str, Any]:
        """Where the schedules stand. The schedules themselves are passed again when a run is resumed."""
        return {
            "t": {H.name: t for H, t in self._clocks.items()},
            "set": {H.name: t for H, t in self._set_for.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        clocks = state["t"]
        self._clocks = {H: clocks.get(H.name, max(clocks.values())) for H in self.schedules}
        self._set_for = {H: state["set"][H.name] for H in self.schedules if H.name in state["set"]}


def concerns(H: HyperParameter, models: Collection[str] | None) -> bool:
    """Whether an update of these models (None: of all) is one of those that a hyperparameter is of."""
    if models is None:
        return True
    written = [parts(path) for path, permission in H.state_access.items() if issubclass(permission, Write)]
    of_models = [below for root, *below in written if root in ("model", "optimizer", "params")]
    return not of_models or any(not below or below[0] in models for below in of_models)


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

    Unknown is what a phase with an `epoch` of its own does, or a callback that overrides an epoch or a step; and how
    many updates a phase with a `step` of its own makes, or a callback that accumulates or overrides the update.
    """
    length = position_of(learner).length
    if length is None or length.nothing:
        return 0
    phases = [phase for phase in length.phases if isinstance(phase, AbstractTrainingPhase)]
    n = length.n
    if n is not None and (each == "epoch" or not phases):
        return n * len(phases)
    if each == "update" and any(type(phase).step is not TrainingPhase.step for phase in phases):
        return None
    deciding = ("epoch", "step", "update") if each == "update" else ("epoch", "step")
    for callback in learner.callbacks:
        hooks = handlers(callback)
        if each == "update" and "accumulate" in hooks:
            return None
        if any(name in hooks and not hooks[name].wrapper for name in deciding):
            return None
    lengths = [steps_of(learner, phase) for phase in phases]
    steps, known = length.steps, None if None in lengths else sum(filter(None, lengths))
    if steps is None or n is not None:
        return None if known is None or n is None else n * known
    if each != "epoch":
        return steps
    return None if known is None or len(phases) > 1 else -(-steps // known)


def steps_of(learner: Any, phase: Phase) -> int | None:
    """The number of steps in an epoch of a phase, if it is known."""
    if type(phase).epoch is not Phase.epoch or phase.data_name not in learner.data:
        return None
    return length_of(learner.data[phase.data_name])
