"""`Evaluation`: the metrics of `learner.evaluate`, measured apart from those of the run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from treadle import Phase, ValidationPhase

from treadle_metrics.abstract_metric import AbstractMetric, MetricError
from treadle_metrics.measurement import fresh


class Evaluation:
    """Measures with copies of metrics, so that those of the run stay as they are.

    A metric that is measured in validation is measured here too.

    Args:
        passed: Those among them that must have a value, since they were asked for.
    """

    def __init__(self, metrics: Iterable[AbstractMetric], passed: Collection[AbstractMetric] = ()) -> None:
        metrics = list(metrics)
        self.metrics = [fresh(metric) for metric in metrics]
        self.passed = {metric.name for metric in metrics if metric in passed}

    def step(self, learner: Any, phase: Phase) -> None:
        """Measure a step that has ended."""
        for metric in self.metrics:
            if isinstance(phase, metric.phase) or isinstance(ValidationPhase(), metric.phase):
                metric.step(learner, phase)

    def added_up(self, learner: Any, phase: Phase) -> Iterator[AbstractMetric]:
        """What several processes combine."""
        for metric in self.metrics:
            metric.check_mergeable()
            yield metric

    def values(self) -> dict[str, Any]:
        """The values of all steps by the names of their columns."""
        values: dict[str, Any] = {}
        for metric in self.metrics:
            value = metric.epoch_value()
            if value is None and metric.name in self.passed:
                raise MetricError(
                    f"The metric {metric.name!r} was passed to `evaluate` and measured nothing: no step had what it "
                    f"needs, which for a function are outputs and targets, `step.yhats` and `step.ys`.\n"
                    f"Fix: let the learner split the batches:\n"
                    f'    Learner(..., split=lambda batch: (batch["inputs"], batch["labels"]))\n'
                    f"Or measure with an AbstractMetric that reads what there is."
                )
            columns = value if isinstance(value, dict) else {} if value is None else {metric.name: value}
            if twice := values.keys() & columns.keys():
                raise MetricError(
                    f"Two metrics both have the column {sorted(twice)[0]!r}.\n"
                    f"Fix: give it another key in one of them; torchmetrics has a prefix for it:\n"
                    f'    MetricCollection(..., prefix="2 ")'
                )
            values |= columns
        return values
