"""What a Treadle run measured, step by step and epoch by epoch."""

from treadle import Series
from treadle.authoring import Mean

from treadle_metrics.abstract_metric import AbstractMetric, MetricError
from treadle_metrics.accuracy import accuracy
from treadle_metrics.by_phase import ByPhase, MissingExtra
from treadle_metrics.loss import Loss, SmoothLoss
from treadle_metrics.metric import Metric
from treadle_metrics.metrics import Metrics
from treadle_metrics.recorder import History, Recorder
from treadle_metrics.series_by_phase import SeriesByName, SeriesByPhase
from treadle_metrics.statistic import Smooth
from treadle_metrics.traces import Traces

__all__ = [
    "AbstractMetric",
    "ByPhase",
    "History",
    "Loss",
    "Mean",
    "Metric",
    "MetricError",
    "Metrics",
    "MissingExtra",
    "Recorder",
    "Series",
    "SeriesByName",
    "SeriesByPhase",
    "Smooth",
    "SmoothLoss",
    "Traces",
    "accuracy",
]
