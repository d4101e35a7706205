"""`Metrics`: measures each step and each epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from treadle import Callback, Phase, Read, Write
from treadle.authoring import phase_key
from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_metrics.abstract_metric import AbstractMetric
from treadle_metrics.loss import Loss
from treadle_metrics.metric import Metric
from treadle_metrics.recorder import History
from treadle_metrics.series_by_phase import SeriesByName, SeriesByPhase

Column = tuple[str, Callable[[Any, Phase], None], Callable[[], float | torch.Tensor | None]]


class Metrics(Callback):
    """Measure the loss, and whatever else is asked for, at each step and over each epoch.

    `learner.cbstate.metricsstep[phase]` and `learner.cbstate.metricsepoch[phase]` map a metric's name to
    a `Series`. A step's value belongs to the number of completed steps of its phase, an epoch's to the
    number of epochs. An epoch inside of an epoch of another phase is measured separately. One of the
    default callbacks.

    Args:
        *metrics: Any of `AbstractMetric`, functions of `(yhats, ys)`, and objects with `update`, `compute` and
            `reset`, such as torchmetrics' own. `Loss` is always there, as the first.

    Reads: `cbstate.history`, `step.loss`, and what the metrics read.
    Writes: `cbstate.metricsstep`, `cbstate.metricsepoch`.

    Raises:
        ArgumentTypeError: if something is not a metric.
        ArgumentValueError: if two metrics have the same name.

    Example:
        >>> from treadle import ValidationPhase, toy_learner
        >>> from treadle_metrics import Recorder
        >>> learner = toy_learner(Recorder(), Metrics(torch.nn.functional.mse_loss))
        >>> _ = learner.fit(3)
        >>> metrics = learner.cbstate.metricsepoch[ValidationPhase()]
        >>> list(metrics), list(metrics["Loss"].iterations)
        (['Loss', 'Mse_loss'], [1, 2, 3])
    """

    state_access = {"cbstate.metricsstep": Write, "cbstate.metricsepoch": Write, "cbstate.history": Read}
    run_after = ("recorder",)

    def __init__(self, *metrics: Any) -> None:
        others = [as_metric(metric) for metric in metrics]
        losses = [metric for metric in others if type(metric) is Loss] or [Loss()]
        self.metrics = (*losses, *(metric for metric in others if type(metric) is not Loss))
        names = [metric.name for metric in self.metrics]
        for name in names:
            if names.count(name) > 1:
                raise ArgumentValueError(
                    f"There are {names.count(name)} metrics with the name {name!r}.\n"
                    f'Fix: give each a name:\n    Metric(fn, name="{name} 2")'
                )
        self.state_access = dict(Metrics.state_access)
        for metric in self.metrics:
            self.state_access.update(metric.state_access)
        self._held = ""  # the key of the phase whose values the metrics hold
        self._open = False  # whether these are of an epoch that has not ended
        self._aside: dict[str, dict[str, Any]] = {}  # the values of other such epochs, by the keys of their phases
        self._phase: Phase | None = None  # for which the following is at hand, so that a step looks up nothing
        self._columns: tuple[Column, ...] = ()
        self._history = History()
        self._steps = SeriesByName()

    def on_init(self, learner: Any) -> None:
        names = tuple(metric.name for metric in self.metrics)
        for entry, unit in (("metricsstep", "step"), ("metricsepoch", "epoch")):
            if entry not in learner.cbstate:
                learner.cbstate[entry] = SeriesByPhase(unit)
            learner.cbstate[entry].expected = names
        self._phase = None

    def on_epoch_begin(self, phase: Phase) -> None:
        self._hold(phase)
        self._reset()
        self._open = True

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        if phase is not self._phase:
            self._hold(phase)
            self._phase = phase
            self._columns = tuple((metric.name, metric.step, metric.step_value) for metric in self._active(phase))
            self._history = learner.cbstate.history[phase]
            self._steps = learner.cbstate.metricsstep.of(phase)
        iteration, recorded = self._history.steps, self._steps
        for name, step, step_value in self._columns:
            step(learner, phase)
            value = step_value()
            if value is not None:
                series = recorded.get(name)
                if series is None:
                    series = recorded.of(name)
                series.push(iteration, value)

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        self._hold(phase)
        epochs, recorded = learner.cbstate.history[phase].epochs, learner.cbstate.metricsepoch.of(phase)
        for metric in self._active(phase):
            value = metric.epoch_value()
            if value is not None:
                recorded.of(metric.name).push(epochs, value)
        self._open = False

    def _hold(self, phase: Phase) -> None:
        """Let the metrics hold the values of a phase; those of another one's epoch that is open are put aside."""
        key = phase_key(phase)
        if key != self._held:
            if self._open:
                self._aside[self._held] = self._states()
            self._held, self._open = key, key in self._aside
            if self._open:
                self._load(self._aside.pop(key))
            else:
                self._reset()
        self._phase = None

    def _active(self, phase: Phase) -> list[AbstractMetric]:
        return [metric for metric in self.metrics if isinstance(phase, metric.phase)]

    def _reset(self) -> None:
        for metric in self.metrics:
            metric.reset()

    def _states(self) -> dict[str, Any]:
        return {metric.name: metric.state_dict() for metric in self.metrics}

    def _load(self, states: dict[str, Any]) -> None:
        for metric in self.metrics:
            metric.load_state_dict(states[metric.name])

    def state_dict(self) -> dict[str, Any]:
        return {"held": self._held, "open": self._open, "metrics": self._states(), "aside": dict(self._aside)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        names = {metric.name for metric in self.metrics}
        if names != set(state["metrics"]):
            raise ArgumentValueError(
                f"The checkpoint has the metrics {', '.join(state['metrics'])}, and {self.name} has "
                f"{', '.join(sorted(names))}.\nFix: resume with the same metrics."
            )
        self._load(state["metrics"])
        self._held, self._open, self._aside = state["held"], state["open"], dict(state["aside"])
        self._phase = None


def as_metric(value: Any) -> AbstractMetric:
    """A metric as it is; a function or an accumulating object as a `Metric`."""
    if isinstance(value, AbstractMetric):
        return value
    if isinstance(value, type):
        raise ArgumentTypeError(
            f"{value.__name__} is a class, not a metric.\nFix: make an instance:\n    Metrics({value.__name__}())"
        )
    return Metric(value)
