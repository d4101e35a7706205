"""`MetricsPrinter`: a table of the metrics that grows a row an epoch."""

from __future__ import annotations

import sys
from typing import IO, Any

from treadle import Callback, Phase, Read
from treadle.errors import ArgumentTypeError

from treadle_progress.lines import write_line
from treadle_progress.metrics_table import MetricsTable
from treadle_progress.progress_printer import label


class MetricsPrinter(Callback):
    """Print the metrics of each epoch as a row of a table.

    A fit begins with a header. Should a metric or a phase appear that has no place under it, a wider
    header follows. Rows and progress bars do not disturb each other. One of the default callbacks.

    Args:
        file: Where to write. Default: standard output.
        rich: Whether to print the header in bold, by the library rich. Default: where the output is a
            terminal and rich is installed.

    Reads: `cbstate.metricsepoch`, `cbstate.history`.

    Raises:
        ArgumentTypeError: if `file` cannot be written to, or `rich` is asked for and not installed.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_metrics import Metrics, Recorder
        >>> _ = toy_learner(Recorder(), Metrics(), MetricsPrinter()).fit(2)
        epoch  phase                  Loss
            1  TrainingPhase        ...
            1  ValidationPhase      ...
            2  TrainingPhase        ...
            2  ValidationPhase      ...
    """

    state_access = {"cbstate.metricsepoch": Read, "cbstate.history": Read}
    run_after = ("metrics", "progress_printer")

    def __init__(self, *, file: IO[str] | None = None, rich: bool | None = None) -> None:
        if file is not None and not callable(getattr(file, "write", None)):
            raise ArgumentTypeError(f"file is something to write to, got {file!r}: MetricsPrinter(file=sys.stdout)")
        if rich and not rich_is_there():
            raise ArgumentTypeError("rich is not installed: pip install rich, or leave it out: MetricsPrinter()")
        self.file, self.rich = file, rich
        self._table: MetricsTable | None = None

    def on_fit_begin(self) -> None:
        self._table = None

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        recorded, epoch = learner.cbstate.metricsepoch, learner.cbstate.history[phase].epochs
        series = recorded[phase]
        last = {name: one.last for name, one in series.items() if len(one)}
        values = {name: value for name, (iteration, value) in last.items() if iteration == epoch}
        names = list(dict.fromkeys([*getattr(recorded, "expected", ()), *series]))
        table = self._table or MetricsTable([])
        if self._table is None or not table.fits(label(phase), names):
            table = self._table = table.wider(label(phase), names)
            self._write(table.header(), style="bold")
        self._write(table.row(epoch, label(phase), values))

    def _write(self, line: str, style: str = "") -> None:
        file = self.file or sys.stdout
        rich = file.isatty() and rich_is_there() if self.rich is None else self.rich
        write_line(line, file, style if rich else None)


def rich_is_there() -> bool:
    """Whether the library rich can be imported."""
    try:
        import rich.console  # noqa: F401
    except ImportError:
        return False
    return True
