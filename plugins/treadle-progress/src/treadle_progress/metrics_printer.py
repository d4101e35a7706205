"""`MetricsPrinter`: a table of the metrics that grows by a row an epoch."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any, Protocol, runtime_checkable

from tqdm.auto import tqdm
from treadle import Callback, Phase, Read, Series
from treadle.authoring import phase_label, writable
from treadle.errors import ArgumentTypeError

#: The width of a column of numbers, and that of the column of phases, unless a name is wider.
NUMBER, PHASE = 10, len("ValidationPhase")


@runtime_checkable
class Recorded(Protocol):
    """What `cbstate.metricsepoch` has to be: series by phase and name, and the names that are to come.

    `SeriesByPhase` of treadle-metrics is one.
    """

    @property
    def names(self) -> Sequence[str]: ...

    def __getitem__(self, phase: Phase) -> Mapping[str, Series]: ...


class MetricsPrinter(Callback):
    """Print the metrics of each epoch as a row of a table.

    A fit begins with a header. Should a metric or a phase appear for which there is no room, a wider
    header follows. Rows and progress bars do not disturb each other. One of the default callbacks.

    Args:
        file: Where to write. Default: standard output.
        rich: Whether to print the header in bold, by the library rich. Default: where the output is a
            terminal and rich is installed.

    Reads: `cbstate.metricsepoch` (the series and their `names`), `cbstate.history`.

    Raises:
        ArgumentTypeError: if `file` cannot be written to, or `rich` is asked for and not installed; when a
            fit begins, if another callback than `Metrics` made `cbstate.metricsepoch`, without `names`.

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
        if file is not None:
            writable(file, "file", "MetricsPrinter(file=sys.stdout)")
        if rich and not rich_is_installed():
            raise ArgumentTypeError("rich=True needs the library rich.\nFix: install it:\n    pip install rich")
        self.file, self.rich = file, rich
        self._table: MetricsTable | None = None

    def on_fit_begin(self, learner: Any) -> None:
        if not isinstance(recorded := learner.cbstate.metricsepoch, Recorded):
            raise ArgumentTypeError(
                f"{self.name} prints `cbstate.metricsepoch`, and the {type(recorded).__name__} there has no `names`.\n"
                f"Fix: keep the series in a container that lists the metrics, as treadle-metrics does:\n"
                f'    learner.cbstate.metricsepoch = SeriesByPhase("epoch", names=["Loss"])'
            )
        self._table = None

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        recorded, epoch = learner.cbstate.metricsepoch, learner.cbstate.history[phase].epochs
        last = {name: series.last for name, series in recorded[phase].items() if len(series)}
        values = {name: value for name, (iteration, value) in last.items() if iteration == epoch}
        label = phase_label(phase)
        table = (self._table or MetricsTable([])).with_room_for(label, recorded.names)
        if table is not self._table:
            self._table = table
            self._write(table.header(), style="bold")
        self._write(table.row(epoch, label, values))

    def _write(self, line: str, style: str = "") -> None:
        """Write a line; progress bars on the same terminal make room for it and come back below."""
        file = self.file or sys.stdout
        with tqdm.external_write_mode(file=file):
            if file.isatty() and rich_is_installed() if self.rich is None else self.rich:
                from rich.console import Console
                from rich.text import Text

                Console(file=file, soft_wrap=True).print(Text(line, style=style))
            else:
                print(line, file=file, flush=True)


class MetricsTable:
    """A table with the columns epoch, phase and one for each metric. A column never changes its width."""

    def __init__(self, names: Sequence[str], phase: int = PHASE) -> None:
        self.names = tuple(names)
        self._phase = max(phase, PHASE)

    def with_room_for(self, phase: str, names: Sequence[str]) -> MetricsTable:
        """This table, or a wider one if there is no room for a phase or a metric."""
        if len(phase) <= self._phase and set(names) <= set(self.names):
            return self
        return MetricsTable(list(dict.fromkeys([*self.names, *names])), max(self._phase, len(phase)))

    def header(self) -> str:
        """The line that heads the columns."""
        return self._line("epoch", "phase", self.names)

    def row(self, epoch: int, phase: str, values: Mapping[str, float]) -> str:
        """The line of an epoch, with a dash where a metric has no value."""
        cells = [formatted(values[name]) if name in values else "-" for name in self.names]
        return self._line(str(epoch), phase, cells)

    def _line(self, epoch: str, phase: str, cells: Sequence[str]) -> str:
        columns = [f"{cell:>{max(NUMBER, len(name))}}" for name, cell in zip(self.names, cells, strict=True)]
        return "  ".join([f"{epoch:>5}", f"{phase:<{self._phase}}", *columns]).rstrip()


def formatted(value: float) -> str:
    """A number in at most ten characters.

    Example:
        >>> formatted(0.98765), formatted(0.0), formatted(-0.000012345), formatted(float("nan"))
        ('0.9877', '0.0000', '-1.234e-05', 'nan')
    """
    fixed = value == 0 or 1e-3 <= abs(value) < 1e4
    return f"{value:.4f}" if fixed else f"{value:.3e}"


def rich_is_installed() -> bool:
    """Whether the library rich can be imported."""
    try:
        import rich.console  # noqa: F401
    except ImportError:
        return False
    return True
