"""A progress bar, a table of metrics and lines for a log."""

from treadle_progress.metrics_printer import MetricsPrinter
from treadle_progress.progress_printer import ProgressPrinter
from treadle_progress.step_printer import StepPrinter

__all__ = ["MetricsPrinter", "ProgressPrinter", "StepPrinter"]
