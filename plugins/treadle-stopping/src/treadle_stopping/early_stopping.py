"""`EarlyStopping`: stop the fit when a criterion says so, and restore the best weights on request."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from math import isfinite
from typing import Any

from treadle import (
    AbstractTrainingPhase,
    AbstractValidationPhase,
    Callback,
    ConflictResolution,
    NotDefined,
    Permission,
    Phase,
    Read,
    RunFirst,
    Unresolvable,
    Write,
    accesses,
    hookimpl,
)
from treadle.authoring import did_you_mean, load_model_state, model_state, one_of, overlaps, subclass_of, unwrap
from treadle.errors import ArgumentTypeError, ArgumentValueError, CancelFittingException, LossError

from treadle_stopping.criterion import Criterion, Never
from treadle_stopping.losses import StepLosses
from treadle_stopping.patience import Patience
from treadle_stopping.stopper import EarlyStopper


class EarlyStop(CancelFittingException):
    """`EarlyStopping` ended the fit. The message says why.

    Attributes:
        criterion: The criterion that was met; of a disjunction, the part or parts that were.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_stopping import NumberLimit
        >>> stop = toy_learner(EarlyStopping(NumberLimit(2), Patience(5))).fit(9).cancelled
        >>> isinstance(stop, EarlyStop), stop.criterion
        (True, NumberLimit(n=2))
    """

    def __init__(self, message: str, criterion: Criterion) -> None:
        super().__init__(message, criterion)
        self.criterion = criterion

    def __str__(self) -> str:
        return str(self.args[0])


class EarlyStopping(Callback):
    """Stop the fit when a criterion is met.

    At the end of a test epoch the criterion gets the mean of its steps' losses, as an out-of-sample loss;
    if it uses training losses, it also gets those of the training steps, one by one. It is asked at the end
    of every epoch of either kind. An epoch that it stops is counted, and all other callbacks still see its end.
    A fit without test data has no out-of-sample loss, and uses the mean loss of each training epoch instead.

    Every fit starts again, and clocks (`TimeLimit`) start with it; see `keep_state`. A resumed fit goes on: its state
    is put back after `FitBegin` and `EpochBegin`.

    Args:
        *criteria: A criterion, or several, of which any stops; an integer n is `Patience(n)`.
        train_phase: The phases whose steps give the training losses. Default: every training phase.
        test_phase: The phases that give the out-of-sample losses. Default: every validation phase.
        monitor: The name of an epoch metric (`"Accuracy"`) that is used in place of the mean loss. It needs
            the callback `Metrics`. Default: the mean loss.
        mode: "min" if lower values of `monitor` are better, "max" if higher ones are. With "max" the criteria
            get the value with its sign changed: `Threshold(-0.97)` stops above 0.97. Default: "min".
        restore_best: Whether the fit ends, in whatever way, with the weights of the epoch whose out-of-sample
            value was best. The copy stays on the model's device. Default: no.
        keep_state: Whether the next fit goes on where this one ended, for those who call `fit` again and
            again; a criterion that is met then stays met, and clocks run on in between. Default: no.

    Attributes:
        stopper: What the criteria have seen; its `criterion` is all of them as one.

    Reads: `data`; `step.loss`; with `monitor`, `cbstate.metricsepoch`, and `step.loss` only for criteria that
        use training losses.
    Writes: `model`, with `restore_best` only.

    Raises:
        EarlyStop: when it stops; `fit` returns it as `FitResult.cancelled`, with `.criterion`.
        ArgumentTypeError, ArgumentValueError: if an argument is invalid, or there is no metric called `monitor`.
        LossError: if the steps of a phase have no loss to look at.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_stopping import InvalidValue, NumberLimit
        >>> result = toy_learner(EarlyStopping(NumberLimit(3), InvalidValue())).fit(10)
        >>> result.epochs, result.cancelled.criterion
        (3, NumberLimit(n=3))
        >>> print(result.cancelled)
        Stopped early by NumberLimit(n=3): 3 losses have been seen.
    """

    def __init__(
        self,
        *criteria: Criterion | int,
        train_phase: type[Phase] = AbstractTrainingPhase,
        test_phase: type[Phase] = AbstractValidationPhase,
        monitor: str | None = None,
        mode: str = "min",
        restore_best: bool = False,
        keep_state: bool = False,
    ) -> None:
        if not criteria:
            raise ArgumentTypeError(
                "EarlyStopping needs a criterion, or a number of epochs.\n"
                "Fix: write, for example:\n    EarlyStopping(Patience(3))"
            )
        example = "EarlyStopping(3, test_phase=ValidationPhase)"
        subclass_of(train_phase, "EarlyStopping(train_phase)", Phase, example)
        subclass_of(test_phase, "EarlyStopping(test_phase)", Phase, example)
        one_of(mode, "EarlyStopping(mode)", ["min", "max"])
        self.criteria = tuple(Patience(c) if isinstance(c, int) else c for c in criteria)
        self.stopper = EarlyStopper(*self.criteria, strict=False)
        self.train_phase, self.test_phase = train_phase, test_phase
        self.monitor, self.mode = monitor, mode
        self.restore_best, self.keep_state = restore_best, keep_state
        self._uses_training = self.stopper.criterion.uses_training
        self._inside = False  # whether an epoch is under way at whose end it can stop
        self._stop: EarlyStop | None = None  # why it is to stop there
        self._forget()

    def _forget(self) -> None:
        self.stopper.reset()
        self._best: float | None = None  # lower is better
        self._best_weights: dict[str, Any] | None = None
        self._training, self._test = StepLosses(), StepLosses()  # of the epochs under way
        self._alone = False  # whether training is used instead of test epochs, because there are none

    @property
    def best(self) -> float | None:
        """The best out-of-sample value of this fit, or None; values that are not finite do not count."""
        return -self._best if self._best is not None and self.mode == "max" else self._best

    @property
    def state_access(self) -> Mapping[str, type[Permission]]:  # type: ignore[override]
        """What it uses depends on its options."""
        access: dict[str, type[Permission]] = {"data": Read}
        if self.monitor is None or self._uses_training:
            access["step.loss"] = Read
        if self.monitor is not None:
            access["cbstate.metricsepoch"] = Read
        if self.restore_best:
            access["model"] = Write
        return access

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        """Among those that write to the model it comes last, so that none overwrites what it restores."""
        if not self.restore_best:
            return NotDefined()
        inner = unwrap(other)
        if isinstance(inner, EarlyStopping) and inner.restore_best:
            return Unresolvable(
                "Both would restore weights at the end of the fit. Pass all criteria to one of them: "
                "EarlyStopping(first, second, restore_best=True)"
            )
        writes_model = any(overlaps(path, "model") for path in accesses(other, Write))
        return RunFirst(other) if writes_model else NotDefined()

    def on_fit_begin(self, learner: Any) -> None:
        if not self.keep_state:
            self._forget()
        self.stopper.start()
        name = self.test_phase.data_name
        self._alone = name is not None and name not in learner.data

    @hookimpl(wrapper=True)
    def epoch(self) -> Generator[None, object, object]:
        """Stop only after all callbacks have seen the end of the epoch and it is counted."""
        outer, self._inside = self._inside, True
        try:
            result = yield
        finally:
            self._inside = outer
            stop, self._stop = self._stop, None
        if stop is not None:
            raise stop
        return result

    def on_epoch_begin(self, phase: Phase) -> None:
        if isinstance(phase, self.train_phase):
            self._training = StepLosses()
        elif isinstance(phase, self.test_phase):
            self._test = StepLosses()

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        mean_used = self.monitor is None and (self._alone or isinstance(phase, self.test_phase))
        if isinstance(phase, self.train_phase):
            if self._uses_training or mean_used:
                self._training.record(learner.step)
        elif mean_used:
            self._test.record(learner.step)

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        training, test = isinstance(phase, self.train_phase), isinstance(phase, self.test_phase)
        if not (training or test):
            return
        if not training:
            self._alone = False
        for loss in self._training.unread():
            self.stopper.update(loss, training=True)
        if test or self._alone:
            value = self._value(learner, phase, self._training if training else self._test)
            if value is not None:
                self.stopper.update(value)
                self._remember(learner, value)
        if (fired := self.stopper.fired) != Never():
            stop = EarlyStop(self.stopper.message + self._explanation(), fired)
            if not self._inside:  # in an epoch that was not run by `treadle.epoch`
                raise stop
            self._stop = stop

    def on_fit_end(self, learner: Any) -> None:
        self._alone = False
        if self.restore_best and self._best_weights is not None:
            load_model_state(learner.model, self._best_weights)
            if not self.keep_state:
                self._best_weights = None

    def _remember(self, learner: Any, value: float) -> None:
        """Keep a value that is the best, and its weights if they are to be restored."""
        if not isfinite(value) or (self._best is not None and value >= self._best):
            return
        self._best = value
        if self.restore_best:
            self._best_weights = None  # first, so that there are never two copies
            self._best_weights = model_state(learner.model)

    def _value(self, learner: Any, phase: Phase, losses: StepLosses) -> float | None:
        """The epoch's out-of-sample value, lower is better; None if no step ran to its end."""
        if self.monitor is None:
            if losses.missing and losses.mean is None:
                raise LossError(
                    f"EarlyStopping found no `step.loss` in {phase}.\nFix: choose other phases, train_phase and "
                    f'test_phase, or an epoch metric:\n    EarlyStopping(..., monitor="Accuracy")'
                )
            return losses.mean
        metrics = learner.cbstate.metricsepoch[phase]
        if self.monitor not in metrics:
            raise ArgumentValueError(
                f"EarlyStopping(monitor={self.monitor!r}): there is no such metric in {phase}. "
                f"{did_you_mean(self.monitor, metrics)}\nFix: name a metric that is recorded, or add it to `Metrics`."
            )
        value: float = metrics[self.monitor].last[1]
        return -value if self.mode == "max" else value

    def _explanation(self) -> str:
        if self.monitor is None:
            return ""
        return f" The loss is here {self.monitor}{', its sign changed' if self.mode == 'max' else ''}."

    def state_dict(self) -> dict[str, Any]:
        return {
            "stopper": self.stopper.state_dict(),
            "training": self._training.state_dict(),
            "test": self._test.state_dict(),
            "alone": self._alone,
            "best": self._best,
            "best_weights": self._best_weights,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stopper.load_state_dict(state["stopper"])
        self._training.load_state_dict(state["training"])
        self._test.load_state_dict(state["test"])
        self._best, self._best_weights = state["best"], state["best_weights"]
        self._alone = state["alone"]
