"""A progress bar and a table of metrics."""

from treadle_progress.metrics_printer import MetricsPrinter
from treadle_progress.progress_printer import ProgressPrinter

__all__ = ["MetricsPrinter", "ProgressPrinter"]
