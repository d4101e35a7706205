"""What a Treadle run measured, step by step and epoch by epoch."""

from treadle import Series

from treadle_metrics.abstract_metric import AbstractMetric
from treadle_metrics.accuracy import accuracy
from treadle_metrics.by_phase import ByPhase
from treadle_metrics.errors import MetricError, MissingExtra
from treadle_metrics.history import History
from treadle_metrics.loss import Loss
from treadle_metrics.mean import Mean
from treadle_metrics.metric import Metric
from treadle_metrics.metrics import Metrics
from treadle_metrics.phase_series import SeriesByName, SeriesByPhase
from treadle_metrics.recorder import Recorder
from treadle_metrics.smooth import Smooth
from treadle_metrics.smooth_loss import SmoothLoss
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
