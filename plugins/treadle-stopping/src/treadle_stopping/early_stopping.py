"""`EarlyStopping`: stop the fit when a criterion says so, and restore the best weights on request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from loguru import logger
from treadle import (
    AbstractTrainingPhase,
    AbstractValidationPhase,
    Callback,
    ConflictResolution,
    EpochEnd,
    FitEnd,
    NotDefined,
    Permission,
    Phase,
    Read,
    RunFirst,
    Unresolvable,
    Write,
    accesses,
)
from treadle.authoring import (
    batch_weight,
    by_name,
    handles,
    instance_of,
    load_model_state,
    overlaps,
    phase_key,
    position_of,
    subclass_of,
    unwrap,
    whole_number,
)
from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_stopping.criterion import Criterion, Never
from treadle_stopping.early_stop import EarlyStop
from treadle_stopping.losses import StepLosses
from treadle_stopping.monitor import Monitor
from treadle_stopping.patience import NoImprovement, Patience
from treadle_stopping.stopper import EarlyStopper
from treadle_stopping.watch import ENDED, Watch, check_disjoint


class EarlyStopping(Callback):
    """Stop the fit when a criterion is met: look at a value at the end of an epoch, and raise.

    It looks at one of the phases of the fit. Where a test phase is among them, that is its value, the mean of the
    steps' losses of each of its epochs, weighed by the rows of their batches, also of those that run inside of another
    epoch. Otherwise it looks at the training phase, until an epoch of a test phase ends that runs inside of a training
    epoch: from then on it looks at that phase, and what it saw of training is forgotten. Epochs outside of a fit are
    not looked at.

    A criterion gets these values as out-of-sample losses; if it uses training losses, it also gets those of the
    training steps, one by one. It is asked at the end of every epoch of either kind. The other callbacks still see
    the end of the epoch, which is counted.

    Every fit starts again, and clocks (`TimeLimit`) start with it; see `keep_state`. A resumed fit goes on; what a
    checkpoint holds of one that was stopped is that it is over.

    Args:
        *criteria: A criterion, or several, of which any stops; an integer n is `Patience(n)`, n rises in a row.
        patience: Stop also after this number of epochs without a value below the best, as other training loops do:
            `NoImprovement(patience, min_delta)`. Default: do not.
        min_delta: By how much a value must be below the best to be better, for `patience`. Default: 0.
        monitor: The name of an epoch metric (`"Accuracy"`) that is used in place of the mean loss. It needs
            the callback `Metrics`. Default: the mean loss.
        mode: "min" if lower values of `monitor` are better, "max" if higher ones are. With "max" the criteria
            get the value with its sign changed: `Threshold(-0.97)` stops above 0.97. Default: "min".
        weight: How much the loss of each batch counts in that mean: "rows", the length of the first tensor of
            `step.xs`, and all the same in a phase whose batches have none; a function of the step's state that
            returns a number, finite and not negative; or None, all the same. Default: its rows.
        start_epoch: How many epochs at the beginning of a fit are neither looked at nor remembered; in a fit that
            validates by steps, how many validations; with `keep_state`, of all fits. Default: 0.
        train_phase: The phases whose steps give the training losses. Default: every training phase.
        test_phase: The phases that give the out-of-sample losses. Default: every validation phase.
        restore_best: Whether the fit ends, in whatever way, with the weights of the epoch whose out-of-sample
            value was best. The copy stays on the model's device. Beside a callback that averages weights these are
            the averages of that epoch, which are its averages from then on, too, so that evaluations measure what was
            restored; where it does not keep these in tensors, a warning says so. Default: no.
        keep_state: Whether the next fit goes on where this one ended, for those who call `fit` again and
            again; a criterion that is met then stays met, so that it stops as it begins, and clocks run on in between.
            Default: no.

    Attributes:
        stopper: What the criteria have seen; its `criterion` is all of them as one.
        best: The best value of this fit.

    Reads: `step.loss`, and `step.xs` for the rows, all of `step` for a function; with `monitor`,
        `cbstate.metricsepoch`, and `step.loss` only for criteria that use training losses.
        With `restore_best` also `callbacks`.
    Writes: `model`, with `restore_best` only, and what other callbacks have in `weights_in_validation`.

    Raises:
        EarlyStop: when it stops; `fit` returns it as `FitResult.cancelled`, with `.criterion`.
        ArgumentTypeError, ArgumentValueError: if an argument is invalid; when a fit begins, if it has no phase to look
            at, or several; and if there is no metric called `monitor`, as soon as that is known: when a fit begins,
            unless a function could return a dict with that name; then after a step in which all metrics gave values,
            at the latest at the first step, or epoch, of the phase that it looks at.
        LossError: if the steps of a phase have no loss to look at.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_stopping import InvalidValue, NumberLimit
        >>> result = toy_learner(EarlyStopping(NumberLimit(3), InvalidValue())).fit(10)
        >>> result.epochs, result.cancelled.criterion
        (3, NumberLimit(n=3))
        >>> print(result.cancelled)
        Stopped early by NumberLimit(n=3): 3 losses have been seen.
        >>> toy_learner(EarlyStopping(patience=2, min_delta=1000.0)).fit(10).epochs
        3
    """

    essential = True

    @classmethod
    def example(cls) -> Self:
        return cls(patience=3)

    def __init__(
        self,
        *criteria: Criterion | int,
        patience: int | None = None,
        min_delta: float = 0.0,
        monitor: str | None = None,
        mode: str = "min",
        weight: str | Callable[[Any], Any] | None = "rows",
        start_epoch: int = 0,
        train_phase: type[Phase] = AbstractTrainingPhase,
        test_phase: type[Phase] = AbstractValidationPhase,
        restore_best: bool = False,
        keep_state: bool = False,
    ) -> None:
        self.criteria = tuple(Patience(c) if isinstance(c, int) else c for c in criteria)
        self.patience, self.min_delta = patience, min_delta
        every = self.criteria if patience is None else (*self.criteria, NoImprovement(patience, min_delta))
        if not every:
            raise ArgumentTypeError(
                "EarlyStopping needs a criterion, or a number of epochs.\n"
                "Fix: write, for example:\n    EarlyStopping(patience=3)"
            )
        if patience is None and min_delta != 0:
            raise ArgumentValueError(
                f"EarlyStopping(min_delta={min_delta!r}) belongs to `patience`, which was not passed.\n"
                f"Fix: add it:\n    EarlyStopping(patience=3, min_delta={min_delta!r})"
            )
        example = "EarlyStopping(3, test_phase=ValidationPhase)"
        self.train_phase = subclass_of(train_phase, "EarlyStopping(train_phase)", Phase, example)
        self.test_phase = subclass_of(test_phase, "EarlyStopping(test_phase)", Phase, example)
        check_disjoint(train_phase, test_phase)
        self.monitor, self.mode = monitor, mode
        self._monitor = Monitor(monitor, mode)
        example = "EarlyStopping(patience=3, weight=lambda step: (step.ys >= 0).sum())"
        weigh = batch_weight(weight, "EarlyStopping(weight)", example)
        if callable(weight) and monitor is not None:
            raise ArgumentValueError(
                f"EarlyStopping(weight) weighs the losses of the steps, and monitor={monitor!r} is looked at in their "
                f"place.\nFix: weigh that metric, where it is measured:\n"
                f"    Metrics(Metric(fn, weight=lambda step: (step.ys >= 0).sum()))"
            )
        self.weight, self._weigh = weight, weigh if monitor is None else None
        self.start_epoch = whole_number(
            start_epoch, "EarlyStopping(start_epoch)", "EarlyStopping(patience=3, start_epoch=5)", least=0
        )
        self.restore_best = instance_of(
            restore_best, "EarlyStopping(restore_best)", bool, "EarlyStopping(3, restore_best=True)"
        )
        self.keep_state = instance_of(
            keep_state, "EarlyStopping(keep_state)", bool, "EarlyStopping(3, keep_state=True)"
        )
        self._criterion = EarlyStopper(*every).criterion
        self._fits = [Watch(self._criterion)]  # of the fits under way, the outermost first; else of the last one
        self._phase: Phase | None = None  # for which the following is at hand, so that a step looks up nothing
        self._losses: StepLosses | None = None

    @property
    def _watch(self) -> Watch:
        """What was seen in the fit under way, or in the last one."""
        return self._fits[-1]

    @property
    def stopper(self) -> EarlyStopper:
        """What the criteria have seen in this fit."""
        return self._watch.stopper

    @property
    def best(self) -> float | None:
        """The best out-of-sample value of this fit, or None; values that are not finite do not count."""
        best = self._watch.best
        return None if best is None else self._monitor.shown(best)

    @property
    def state_access(self) -> Mapping[str, type[Permission]]:  # type: ignore[override]
        """What it uses depends on its options."""
        access: dict[str, type[Permission]] = {}
        if self.monitor is None or self._criterion.uses_training:
            access["step.loss"] = Read
        if self._weigh is not None:
            access["step.xs" if self.weight == "rows" else "step"] = Read
        if self.monitor is not None:
            access["cbstate.metricsepoch"] = Read
        if self.restore_best:
            access |= {"model": Write, "callbacks": Read}
        return access

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        """Where epochs and fits end, it comes last among those that write to the model, which it keeps and restores."""
        inner = unwrap(other)
        if not self.restore_best or not any(overlaps(path, "model") for path in accesses(other, Write)):
            return NotDefined()
        if isinstance(inner, EarlyStopping):
            return Unresolvable(
                "Both would restore weights at the end of the fit. Pass all criteria to one of them: "
                "EarlyStopping(first, second, restore_best=True)"
            )
        if inner.weights_in_validation is not None:
            return NotDefined()  # it writes to the model while that is validated, and puts back what was there
        return RunFirst(other if handles(inner, EpochEnd) or handles(inner, FitEnd) else self)

    def on_fit_begin(self, learner: Any) -> None:
        position = position_of(learner)
        if self.monitor is not None:
            self._monitor.check_known(learner.cbstate.metricsepoch)
        if not self.keep_state:
            depth = len(position.scopes)
            outer = [watch for watch in self._fits if watch.depth < depth]  # the fits around this one
            self._fits = [*outer, Watch(self._criterion, depth, learner.progress.epoch)]
        if position.length is not None and not position.length.nothing:
            self._watch.choose(position.phases, self.train_phase, self.test_phase)
            if self.keep_state and self._watch.earlier > self.start_epoch and position.resumption is None:
                self._ask()  # what was met in an earlier fit stays met
        self._watch.stopper.start()

    def on_epoch_begin(self, learner: Any, phase: Phase) -> None:
        self._phase, watch = None, self._watch
        if position_of(learner).length is None:
            return
        feeds = self._criterion.uses_training and isinstance(phase, self.train_phase)
        if feeds and self._criterion.compares_training:
            watch.training = watch.training or phase_key(phase)
            feeds = phase_key(phase) == watch.training
        recorded = 0 if self.monitor is None else self._monitor.recorded(learner.cbstate.metricsepoch, phase)
        watch.epochs.begin(learner, phase, StepLosses(feeds=feeds, recorded=recorded, weigh=self._weigh))

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        if phase is not self._phase:
            self._phase, self._losses = phase, self._losses_of(learner, phase)
        if self._losses is not None:
            self._losses.record(learner.step)

    def added_up(self, learner: Any, phase: Phase) -> list[StepLosses]:
        losses = self._watch.epochs.innermost(learner, phase)
        return [] if losses is None else [losses]

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        self._phase, watch = None, self._watch
        losses = watch.epochs.end(learner, phase)
        training, test = isinstance(phase, self.train_phase), isinstance(phase, self.test_phase)
        if losses is None or not (training or test):
            return
        watch.ended = True
        if test and (watch.stand_in or not watch.phase):
            watch.turn_to(phase)
        elif training and not watch.phase:
            watch.phase, watch.stand_in = phase_key(phase), True
        early = self.start_epoch > 0 and self._number(learner) <= self.start_epoch
        for step_losses in (*watch.epochs.values(), losses):
            if step_losses.feeds:
                for loss in step_losses.unread():
                    if not early:
                        watch.stopper.update(loss, training=True)
        if phase_key(phase) == watch.phase:
            value = self._monitor.value(None if self.monitor is None else learner.cbstate.metricsepoch, phase, losses)
            if value is not None:
                watch.seen = True
                if not early:
                    watch.see(value, learner, keep_weights=self.restore_best)
        if not early:
            self._ask()

    def _number(self, learner: Any) -> int:
        """The number of the epoch; where validation is by steps, of the validation that is next or ends."""
        by_steps, done = self._done(learner)
        return self._watch.earlier + done + by_steps

    def _done(self, learner: Any) -> tuple[bool, int]:
        """Whether validation is by steps, and how many of these, or else of epochs, this fit has had."""
        length = position_of(learner).length
        if length is not None and length.by_steps and length.validation:
            return True, length.validations // len(length.validation)
        return False, learner.progress.epoch - self._watch.before

    def on_fit_end(self, learner: Any) -> None:
        watch = self._watch
        if watch.ended and not watch.seen:
            logger.warning(
                f"EarlyStopping saw no value in this fit: no step ended in a {self.test_phase.__name__}, or in a "
                f"{self.train_phase.__name__} in place of it."
            )
        if self.restore_best and watch.best_weights is not None:
            load_model_state(learner.model, watch.best_weights)
            restore_averages(learner)
            if not self.keep_state:
                watch.best_weights = None
        if self.keep_state:  # the next fit counts on
            watch.earlier, watch.before = watch.earlier + self._done(learner)[1], learner.progress.epoch
        watch.depth = ENDED
        if len(self._fits) > 1:
            self._fits.pop()

    def _losses_of(self, learner: Any, phase: Phase) -> StepLosses | None:
        """Where the losses of the steps of this phase go; None if they are not needed."""
        watch = self._watch
        losses = watch.epochs.innermost(learner, phase)
        if losses is None:
            return None
        if self.monitor is not None:
            self._monitor.check_known(learner.cbstate.metricsepoch)
            names = getattr(learner.cbstate.metricsepoch, "names", None)
            if names is not None and phase_key(phase) == watch.phase:
                self._monitor.check(names, phase)
            return losses if losses.feeds else None
        key, undecided = phase_key(phase), watch.stand_in or not watch.phase
        looked_at = key == watch.phase or (undecided and isinstance(phase, (self.train_phase, self.test_phase)))
        return losses if losses.feeds or looked_at else None

    def _ask(self) -> None:
        """Stop if a criterion is met."""
        watch = self._watch
        if (fired := watch.stopper.fired) != Never():
            raise EarlyStop(watch.stopper.message + self._monitor.explanation, fired)

    def state_dict(self) -> dict[str, Any]:
        return self._watch.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._watch.load_state_dict(state, self._weigh)
        self._phase = None


@torch.no_grad()
def restore_averages(learner: Any) -> None:
    """Give callbacks that average weights those that were restored, so that evaluations run with them as well."""
    restored = {
        f"{name}.{key}" if name else key: value
        for name, model in by_name(learner.model).items()
        for key, value in model.state_dict().items()
    }
    for callback in learner.callbacks:
        for name, value in (callback.weights_in_validation or {}).items():
            value.copy_(restored[name])
        averages = callback.weights_in_validation or {}
        if any(not torch.equal(value, restored[name]) for name, value in averages.items()):
            kind = type(unwrap(callback)).__name__
            logger.warning(
                f"EarlyStopping has restored the weights of the best epoch, and learner.evaluate and learner.predict "
                f"go on with those that {callback.name} makes.\n"
                f"Fix: to evaluate what was restored, remove it first:\n    learner.remove_callback({kind})"
            )
