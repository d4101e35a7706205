"""What an evaluation measures with: a callback of the learner, one that is installed, or the loss alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from treadle.callback import Callback, Measure
from treadle.errors import PluginError
from treadle.loop.evaluation.mean_loss import MeanLoss
from treadle.plugins.discovery import installed, load
from treadle.plugins.metadata import CALLBACKS

#: The entry point of the callback that measures.
METRICS = "metrics"


def measure_of(callbacks: Iterable[Callback], metrics: Sequence[Any]) -> Measure:
    """What measures the loss, what the callbacks of a learner measure, and these metrics.

    Raises:
        PluginError: if there are metrics, and nothing that is installed can measure them.
    """
    for callback in callbacks:
        if (measure := callback.measure(metrics)) is not None:
            return measure
    if not metrics:
        return MeanLoss()
    if not any(plugin.name == METRICS for plugin in installed(CALLBACKS)):
        raise PluginError(
            "learner.evaluate got metrics, and no installed plugin has the entry point `metrics`, which measures "
            "them.\nFix: install it, or evaluate the loss alone:\n    pip install treadle-metrics"
        )
    measure = load(METRICS)().measure(metrics)
    if measure is None:
        raise PluginError(
            f"learner.evaluate got metrics, and the class with the entry point `metrics`, {load(METRICS).__name__}, "
            f"does not measure them: its `measure` returned None.\n"
            f"Fix: define it there, as treadle-metrics does:\n    def measure(self, metrics): ..."
        )
    return measure
