"""`Measurement`: the metrics as one epoch measures with them; an epoch inside of another has its own."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from treadle import Phase
from treadle.errors import ArgumentTypeError

from treadle_metrics.abstract_metric import AbstractMetric


class Measurement:
    """The metrics as one epoch measures with them.

    Args:
        metrics: The metrics, by keys that are unique.

    Attributes:
        phase: The key of the phase of the epoch, or of the steps outside of all epochs, that it measured last.
    """

    def __init__(self, metrics: dict[str, AbstractMetric]) -> None:
        self.metrics = metrics
        self.phase = ""

    def begin(self, phase: str) -> None:
        """Forget everything: an epoch of this phase begins."""
        self.phase = phase
        for metric in self.metrics.values():
            metric.reset()

    def active(self, phase: Phase) -> list[tuple[str, AbstractMetric]]:
        """The metrics that measure in this phase, with their keys."""
        return [(key, metric) for key, metric in self.metrics.items() if isinstance(phase, metric.phase)]

    def another(self) -> Measurement:
        """One with metrics of the same settings and no values."""
        return Measurement({key: fresh(metric) for key, metric in self.metrics.items()})

    def state_dict(self) -> dict[str, Any]:
        return {"phase": self.phase, "metrics": {key: metric.state_dict() for key, metric in self.metrics.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.phase = state["phase"]
        for key, metric in self.metrics.items():
            metric.load_state_dict(state["metrics"][key])


def fresh(metric: AbstractMetric) -> AbstractMetric:
    """A copy of a metric, reset. Parameters, of a net that it measures with, are shared."""
    memo = {id(value): value for value in parameters(vars(metric).values())}
    try:
        another = copy.deepcopy(metric, memo)
    except Exception as error:
        raise ArgumentTypeError(
            f"The metric {metric.name!r} cannot be copied, and an epoch inside of another one measures with a copy: "
            f"{type(error).__name__}: {error}.\n"
            f"Fix: define {type(metric).__name__}.__deepcopy__, or measure in one of the two phases only:\n"
            f"    Metric(..., phase=ValidationPhase)"
        ) from error
    another.reset()
    return another


def parameters(values: Iterable[Any]) -> list[torch.nn.Parameter]:
    """The parameters of the modules among some values."""
    modules = [value for value in values if isinstance(value, torch.nn.Module)]
    return [parameter for module in modules for parameter in module.parameters()]
