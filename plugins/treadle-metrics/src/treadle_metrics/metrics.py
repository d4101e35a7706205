"""`Metrics`: measures each step and each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from treadle import Callback, Phase, Read, Write
from treadle.authoring import OpenEpochs, by_unique_name, phase_key, position_of
from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_metrics.abstract_metric import AbstractMetric, MetricError, Value
from treadle_metrics.evaluation import Evaluation
from treadle_metrics.loss import Loss
from treadle_metrics.measurement import Measurement
from treadle_metrics.metric import Metric
from treadle_metrics.metric_arguments import checked_name, checked_phase
from treadle_metrics.recorder import History
from treadle_metrics.series_by_phase import SeriesByName, SeriesByPhase

#: A metric in a phase: its key, its name, and its methods for a step.
Column = tuple[str, str, Callable[[Any, Phase], None], Callable[[], Value | None]]


class Metrics(Callback):
    """Measure the loss, and whatever else is asked for, at each step and over each epoch.

    `learner.cbstate.metricsstep[phase]` and `learner.cbstate.metricsepoch[phase]` map a metric's name to
    a `Series`. A step's value belongs to the number of completed steps of its phase, an epoch's to the
    number of epochs. An epoch inside of an epoch of another phase is measured separately. In a fit that validates by
    steps, `learner.cbstate.metricsepoch.intervals[phase]` has the values of training since the last validation, and
    those of each validation, under the number of training steps. One of the default callbacks.

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
        self._by_key = by_unique_name(self.metrics)
        self._unseen = {
            key for key, metric in self._by_key.items() if not isinstance(metric, Loss)
        }  # without a value yet
        self._owners: dict[str, str] = {}  # the keys of the metrics by the columns that they record
        for key, metric in self._by_key.items():
            for column in metric.columns:
                if column in self._owners:
                    raise ArgumentValueError(
                        f"There are 2 metrics with the name {column!r}.\n"
                        f'Fix: give each a name:\n    Metric(fn, name="{column} 2")'
                    )
                self._owners[column] = key
        self.state_access = dict(Metrics.state_access)
        for metric in self.metrics:
            self.state_access.update(metric.state_access)
        self._measurements = [Measurement(self._by_key)]  # of the epochs that can be under way, the outermost first
        self._epochs: OpenEpochs[Measurement] = OpenEpochs()
        self._since: dict[str, Measurement] = {}  # of training since the last validation of a fit by steps, by phase
        self._fit = -1  # where that fit began
        self._phase: Phase | None = None  # for which the following is at hand, so that a step looks up nothing
        self._columns: tuple[Column, ...] = ()
        self._also: tuple[Callable[[Any, Phase], None], ...] = ()
        self._history = History()
        self._steps = SeriesByName()

    def on_init(self, learner: Any) -> None:
        for entry, unit in (("metricsstep", "step"), ("metricsepoch", "epoch")):
            if entry not in learner.cbstate:
                learner.cbstate[entry] = SeriesByPhase(unit)
        self._expect(learner)
        self._phase = None

    def on_epoch_begin(self, learner: Any, phase: Phase) -> None:
        if position_of(learner).processes.size > 1:
            for metric in self.metrics:
                metric.check_mergeable()
        measurement = self._next(learner)
        measurement.begin(phase_key(phase))
        self._epochs.begin(learner, phase, measurement)
        self._phase = None
        fit = position_of(learner).own
        if fit is not None and fit.validation and phase.training:
            if fit.began != self._fit:
                self._fit, self._since = fit.began, {}
            if (key := phase_key(phase)) not in self._since:
                self._since[key] = self._measurements[0].another()
                self._since[key].begin(key)

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        if phase is not self._phase:
            self._look_up(learner, phase)
        iteration, recorded = self._history.steps, self._steps
        for key, name, step, step_value in self._columns:
            step(learner, phase)
            value = step_value()
            if value is None:
                continue
            if isinstance(value, dict):
                self._record(learner, recorded, key, iteration, value)
                continue
            series = recorded.get(name)
            if series is None:
                series = recorded.of(name)
                self._see(learner, key)
            series.push(iteration, value)
        for step in self._also:
            step(learner, phase)

    def added_up(self, learner: Any, phase: Phase) -> Iterator[AbstractMetric]:
        """The metrics of the epoch and, where training since the last validation is recorded then, those of it."""
        measurement = self._epochs.innermost(learner, phase)
        yield from (metric for _, metric in (measurement or self._measurements[0]).active(phase))
        fit = position_of(learner).own
        if fit is not None and phase.training is False:
            for training in fit.training:
                if (since := self._since.get(phase_key(training))) is not None:
                    yield from (metric for _, metric in since.active(training))

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        measurement = self._epochs.end(learner, phase) or self._measurements[0]
        recorded = learner.cbstate.metricsepoch
        self._record_all(learner, recorded.of(phase), measurement, phase, learner.cbstate.history[phase].epochs)
        fit, steps = position_of(learner).own, learner.progress.steps
        if fit is not None and phase.training is False:
            for training in fit.training:
                if (since := self._since.get(phase_key(training))) is not None:
                    self._record_all(learner, recorded.interval(training), since, training, steps)
                    since.begin(since.phase)
            self._record_all(learner, recorded.interval(phase), measurement, phase, steps)
        measurement.phase = ""
        self._phase = None

    def _record_all(
        self, learner: Any, recorded: SeriesByName, measurement: Measurement, phase: Phase, iteration: int
    ) -> None:
        """Record what was measured in a phase, by an epoch or since the last validation."""
        for key, metric in measurement.active(phase):
            value = metric.epoch_value()
            if value is not None:
                values = value if isinstance(value, dict) else {metric.name: value}
                self._record(learner, recorded, key, iteration, values)

    def measure(self, metrics: Sequence[Any]) -> Evaluation:
        """What `learner.evaluate` measures with: copies of these metrics, then of those that were passed to it.

        One that was passed replaces one of the same name.
        """
        passed = [as_metric(metric) for metric in metrics]
        names = {column for metric in passed for column in metric.columns}
        others = [metric for metric in self.metrics if names.isdisjoint(metric.columns)]
        return Evaluation(Metrics(*others, *passed).metrics, passed)

    def _look_up(self, learner: Any, phase: Phase) -> None:
        """Have at hand what a step of this phase needs."""
        measurement = self._epochs.innermost(learner, phase)
        if measurement is None:  # a step outside of its epoch
            measurement = self._next(learner)
            if measurement.phase != (key := phase_key(phase)):
                measurement.begin(key)
        self._phase = phase
        self._columns = tuple(
            (key, metric.name, metric.step, metric.step_value) for key, metric in measurement.active(phase)
        )
        own = position_of(learner).own is not None
        since = self._since.get(phase_key(phase)) if own else None
        self._also = () if since is None else tuple(metric.step for _, metric in since.active(phase))
        self._history = learner.cbstate.history[phase]
        self._steps = learner.cbstate.metricsstep.of(phase)

    def _next(self, learner: Any) -> Measurement:
        """The measurement for an epoch, or for steps, inside of the epochs that are under way."""
        depth = self._epochs.depth(learner)
        if depth == len(self._measurements):
            self._measurements.append(self._measurements[0].another())
        return self._measurements[depth]

    def _record(
        self, learner: Any, recorded: SeriesByName, key: str, iteration: int, values: dict[str, float | torch.Tensor]
    ) -> None:
        """Record the values of a metric by the names of their columns."""
        for column, value in values.items():
            if self._owners.get(column) != key:
                self._claim(learner, key, column, values)
            recorded.of(column).push(iteration, value)
        if key in self._unseen:
            self._see(learner, key)

    def _claim(self, learner: Any, key: str, column: str, values: dict[str, Any]) -> None:
        """A metric gave a dict with a column that was not known: let it have it, in place of its name."""
        if column in self._owners:
            raise MetricError(
                f"The metrics {self._owners[column]!r} and {key!r} both record a column {column!r}.\n"
                f"Fix: give it another key in one of them; torchmetrics has a prefix for it:\n"
                f'    MetricCollection(..., prefix="2 ")'
            )
        for name in self._by_key[key].columns:
            if name not in values:
                self._owners.pop(name, None)
        self._owners[column] = key
        self._expect(learner)

    def _see(self, learner: Any, key: str) -> None:
        """A metric gave a value, so its columns are known."""
        if key in self._unseen:
            self._unseen.remove(key)
            self._expect(learner)

    def _expect(self, learner: Any) -> None:
        """Say in the records which columns there are, in the order of the metrics."""
        keys = list(self._by_key)
        columns = tuple(sorted(self._owners, key=lambda column: keys.index(self._owners[column])))
        for recorded in (learner.cbstate.metricsstep, learner.cbstate.metricsepoch):
            recorded.expected, recorded.complete = columns, not self._unseen

    def state_dict(self) -> dict[str, Any]:
        """What was measured in epochs that are under way, or in steps outside of one; between two epochs nothing."""
        measured = {str(i): one.state_dict() for i, one in enumerate(self._measurements) if one.phase}
        since = {key: one.state_dict() for key, one in self._since.items()}
        return {"metrics": list(self._by_key), "measured": measured, "since": since, "fit": self._fit}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if set(self._by_key) != set(state["metrics"]):
            raise ArgumentValueError(
                f"The checkpoint has the metrics {', '.join(state['metrics'])}, and {self.name} has "
                f"{', '.join(sorted(self._by_key))}.\nFix: resume with the same metrics."
            )
        self._fit = state.get("fit", -1)
        self._since = {key: self._measurements[0].another() for key in state.get("since", ())}
        for key, measurement in self._since.items():
            measurement.load_state_dict(state["since"][key])
        for i, measured in state["measured"].items():
            while len(self._measurements) <= int(i):
                self._measurements.append(self._measurements[0].another())
            self._measurements[int(i)].load_state_dict(measured)
        for i, measurement in enumerate(self._measurements):
            if str(i) not in state["measured"]:
                measurement.phase = ""
        self._phase = None


def as_metric(value: Any) -> AbstractMetric:
    """A metric as it is; a function or an accumulating object as a `Metric`."""
    if isinstance(value, AbstractMetric):
        checked_name(value.name, f"a {type(value).__name__}")
        checked_phase(value.phase, f"{type(value).__name__}.phase")
        return value
    if isinstance(value, type):
        raise ArgumentTypeError(
            f"{value.__name__} is a class, not a metric.\nFix: make an instance:\n    Metrics({value.__name__}())"
        )
    return Metric(value)
