"""Loggables, logging callbacks and a CSV backend for Treadle."""

from treadle_logging.audio import Audio
from treadle_logging.backend import BackendClosedError, LogChangedError, LoggerBackend, UnsupportedLoggable, log_to
from treadle_logging.csv_backend import CSVBackend, LogExistsError
from treadle_logging.hyperparams import HyperParams
from treadle_logging.image import Image, to_image
from treadle_logging.log_histograms import LogHistograms
from treadle_logging.log_hyperparams import LogHyperParams
from treadle_logging.log_metrics import LogMetrics
from treadle_logging.log_run import LogRun
from treadle_logging.log_traces import LogTraces
from treadle_logging.log_visualization import LogVisualization
from treadle_logging.loggable import File, Graph, Histogram, Loggable, Text, UnreadableFileError, Value

__all__ = [
    "Audio",
    "BackendClosedError",
    "CSVBackend",
    "File",
    "Graph",
    "Histogram",
    "HyperParams",
    "Image",
    "LogChangedError",
    "LogExistsError",
    "LogHistograms",
    "LogHyperParams",
    "LogMetrics",
    "LogRun",
    "LogTraces",
    "LogVisualization",
    "Loggable",
    "LoggerBackend",
    "Text",
    "UnreadableFileError",
    "UnsupportedLoggable",
    "Value",
    "log_to",
    "to_image",
]
