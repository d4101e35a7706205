"""`ReduceOnPlateau`: lower a hyperparameter when a metric no longer improves."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

from treadle import Callback, ConflictResolution, Learner, Phase, PropDict, Read, Series, Write
from treadle.authoring import did_you_mean, instance_of, one_of, position_of, real_number, whole_number
from treadle.errors import ArgumentValueError
from treadle.phases import AbstractTrainingPhase, AbstractValidationPhase

from treadle_schedule.hyperparameter import AnyHyperParameter, as_hyperparameter, merged_access, resolution
from treadle_schedule.optimizer_values import LearningRate

EXAMPLE = 'ReduceOnPlateau(LearningRate, monitor="Loss", factor=0.1, patience=10)'


class ReduceOnPlateau(Callback):
    """Multiply a hyperparameter by a factor when a metric has not improved for some epochs.

    It looks at the end of each epoch of the fit's validation phase; of its training phase, if the fit
    does not validate. The rules are those of torch's `ReduceLROnPlateau` with its relative threshold.

    Args:
        H: The hyperparameter. All parameter groups are lowered. Default: the learning rate.
        monitor: The name of the epoch metric to look at. Default: the loss.
        mode: "min" if lower values are better, "max" if higher ones are. Default: "min".
        factor: What the value is multiplied by, above 0 and below 1. Default: 0.1.
        patience: The number of epochs without an improvement that are waited for. Default: 10.
        threshold: By which part of the best value a new one has to be better. Default: 1e-4.
        cooldown: The number of epochs after a reduction that do not count as without one. Default: 0.
        min_value: Below this nothing is lowered. Default: 0.

    Attributes:
        best: The best value so far.

    Reads: `cbstate.metricsepoch`, `data`, and what the hyperparameter reads.
    Writes: what the hyperparameter writes, and `cbstate.hyperparams`, as `Scheduler` does: the value under the
        number of completed training steps, at the first training step and after each reduction.

    Raises:
        HyperParameterError: if `H` is not a hyperparameter.
        ArgumentTypeError, ArgumentValueError: if an argument has an invalid value; and if there is no such metric, when
            the fit begins, unless a function could return a dict with that name: then after the first step; at the end
            of an epoch, if it is recorded in others only.

    Example:
        >>> from treadle import toy_learner
        >>> reduce = ReduceOnPlateau(patience=0, threshold=0.9, factor=0.5)
        >>> learner = toy_learner("metrics", "recorder", reduce)
        >>> _ = learner.fit(3)
        >>> list(learner.cbstate.hyperparams["LearningRate"].values)
        [0.001, 0.0005, 0.00025]
    """

    run_after = ("to_device", "to_gpu", "metrics")

    def __init__(
        self,
        H: AnyHyperParameter = LearningRate,
        *,
        monitor: str = "Loss",
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_value: float = 0,
    ) -> None:
        def named(name: str) -> str:
            return f"ReduceOnPlateau({name})"

        self.H = as_hyperparameter(H)
        self.monitor = instance_of(monitor, named("monitor"), str, EXAMPLE)
        self.mode = one_of(mode, named("mode"), ("min", "max"))
        self.factor = real_number(factor, named("factor"), EXAMPLE, above=0, below=1)
        self.patience = whole_number(patience, named("patience"), EXAMPLE, least=0)
        self.threshold = real_number(threshold, named("threshold"), EXAMPLE, least=0, finite=True)
        self.cooldown = whole_number(cooldown, named("cooldown"), EXAMPLE, least=0)
        self.min_value = real_number(min_value, named("min_value"), EXAMPLE, least=0, finite=True)
        self.hyperparameters = (self.H,)
        access = {"cbstate.metricsepoch": Read, "cbstate.hyperparams": Write, "data": Read}
        self.state_access = merged_access([self.H.state_access, access])
        self.best = math.inf if mode == "min" else -math.inf
        self._waited = self._cooling = 0
        self._seen = -1
        self._known = False  # whether it is known that there is such a metric

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        return resolution(self, other)

    def on_init(self, learner: Learner) -> None:
        if "hyperparams" not in learner.cbstate:
            learner.cbstate.hyperparams = PropDict()
        learner.cbstate.hyperparams.setdefault(self.H.name, Series())

    def on_fit_begin(self, learner: Learner) -> None:
        self.H.check(learner)
        self._check_known(learner)

    def on_step_begin(self, learner: Learner, phase: AbstractTrainingPhase) -> None:
        if not self._known:
            self._check_known(learner)
        record = learner.cbstate.hyperparams[self.H.name]
        if not len(record):
            self._record(learner)

    def on_epoch_end(self, learner: Learner, phase: Phase) -> None:
        if not self._looks_at(learner, phase):
            return
        series = learner.cbstate.metricsepoch[phase].get(self.monitor)
        if series is None:
            raise self._unknown(learner.cbstate.metricsepoch[phase], f" in {phase}")
        epoch, value = series.last
        if epoch == self._seen:  # it was cancelled before its first value
            return
        self._seen = epoch
        if self._is_due(float(value)):
            self._reduce(learner)

    def _check_known(self, learner: Any) -> None:
        """Refuse a metric that is recorded in no phase, as soon as it is known which ones are."""
        recorded = learner.cbstate.metricsepoch
        if getattr(recorded, "complete", False):  # a container of somebody else need not know
            if self.monitor not in recorded.names:
                raise self._unknown(recorded.names)
            self._known = True

    def _unknown(self, names: Iterable[str], where: str = "") -> ArgumentValueError:
        return ArgumentValueError(
            f"ReduceOnPlateau(monitor={self.monitor!r}): there is no such metric{where}. "
            f"{did_you_mean(self.monitor, names)}\n"
            f"Fix: name a metric that is recorded, or add it to `Metrics`."
        )

    def _looks_at(self, learner: Any, phase: Phase) -> bool:
        """Whether it is the first validation phase of the fit; the first training phase, if there is none."""
        phases = position_of(learner).phases
        for kind in (AbstractValidationPhase, AbstractTrainingPhase):
            if found := [candidate for candidate in phases if isinstance(candidate, kind)]:
                return phase == found[0]
        return isinstance(phase, AbstractValidationPhase if "validation" in learner.data else AbstractTrainingPhase)

    def _is_due(self, value: float) -> bool:
        """Whether a value is one too many without an improvement. NaN is not one."""
        if self.mode == "min":
            improved = value < self.best * (1 - self.threshold)
        else:
            improved = value > self.best * (1 + self.threshold)
        if improved:
            self.best = value
        self._waited = 0 if improved else self._waited + 1
        if self._cooling:
            self._cooling -= 1
            self._waited = 0
        if self._waited <= self.patience:
            return False
        self._waited, self._cooling = 0, self.cooldown
        return True

    def _reduce(self, learner: Learner) -> None:
        before = self.H.get(learner)
        several = isinstance(before, list | tuple)
        reduced = [max(value * self.factor, min(value, self.min_value)) for value in (before if several else [before])]
        self.H.set(learner, reduced if several else reduced[0])
        self._record(learner)

    def _record(self, learner: Learner) -> None:
        value = self.H.get(learner)
        value = value[0] if isinstance(value, list | tuple) else value
        learner.cbstate.hyperparams[self.H.name].push(learner.progress.steps, value)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self._waited, "cooling": self._cooling, "seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self._waited = state["best"], state["waited"]
        self._cooling, self._seen = state["cooling"], state["seen"]
