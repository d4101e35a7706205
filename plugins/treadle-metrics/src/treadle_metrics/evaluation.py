"""`Evaluation`: the metrics of `learner.evaluate`, measured apart from those of the run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from treadle import Phase, ValidationPhase

from treadle_metrics.abstract_metric import AbstractMetric, MetricError
from treadle_metrics.measurement import fresh


class Evaluation:
    """Measures with copies of metrics, so that those of the run stay as they are.

    A metric that is measured in validation is measured here too.
    """

    def __init__(self, metrics: Iterable[AbstractMetric]) -> None:
        self.metrics = [fresh(metric) for metric in metrics]

    def step(self, learner: Any, phase: Phase) -> None:
        """Measure a step that has ended."""
        for metric in self.metrics:
            if isinstance(phase, metric.phase) or isinstance(ValidationPhase(), metric.phase):
                metric.step(learner, phase)

    def values(self) -> dict[str, Any]:
        """The values of all steps by the names of their columns."""
        values: dict[str, Any] = {}
        for metric in self.metrics:
            value = metric.epoch_value()
            columns = value if isinstance(value, dict) else {} if value is None else {metric.name: value}
            if twice := values.keys() & columns.keys():
                raise MetricError(
                    f"Two metrics both have the column {sorted(twice)[0]!r}.\n"
                    f"Fix: give it another key in one of them; torchmetrics has a prefix for it:\n"
                    f'    MetricCollection(..., prefix="2 ")'
                )
            values |= columns
        return values
