"""`MetricsPrinter`: a table of the metrics that grows by a row an epoch, or by two a validation."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Protocol, runtime_checkable

from tqdm import tqdm
from treadle import Callback, Phase, Read, Series
from treadle.authoring import html_table, one_of, phase_label, position_of, preserved_random_state, writable
from treadle.errors import ArgumentTypeError

from treadle_progress.notebook import Shown, in_notebook
from treadle_progress.text import encodable

if TYPE_CHECKING:
    from treadle_progress.metrics_table import MetricsTable


#: The maximum number of rows that a notebook gets as text, beside the table.
ROWS = 20


@runtime_checkable
class Recorded(Protocol):
    """What `cbstate.metricsepoch` has to be: series by phase and name, and the names that are to come.

    `SeriesByPhase` of treadle-metrics is one. If it has `intervals`, these are the same from validation to validation
    of a fit that validates by steps, under the number of training steps.
    """

    @property
    def names(self) -> Sequence[str]: ...

    def __getitem__(self, phase: Phase) -> Mapping[str, Series]: ...


class MetricsPrinter(Callback):
    """Print the metrics of each epoch as a row of a table.

    A fit begins with a header. Should a metric or a phase appear for which there is no room, a wider
    header follows. No line is wider than the terminal: where a row would be, an epoch gets a line for
    each metric. Rows and progress bars do not disturb each other. In a fit that validates by steps, each validation has
    a row for the training steps since the last one and a row of its own, under the number of training steps that are
    done, and epochs have none. In a notebook it is one table, of which the first and the last rows are shown. One of
    the default callbacks.

    Args:
        file: Where to write. Default: standard output, or the cell of a notebook.
        rich: Whether to print the header in bold. Default: where the output is a terminal.

    Reads: `cbstate.metricsepoch` (the series and their `names`), `cbstate.history`.

    Raises:
        ArgumentTypeError: if `file` cannot be written to; when a fit begins, if another callback than `Metrics`
            made `cbstate.metricsepoch`, without `names`.
        ArgumentValueError: if `file` is closed, or `rich` neither True, False nor None.

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

    main_process_only = True
    state_access = {"cbstate.metricsepoch": Read, "cbstate.history": Read}
    run_after = ("metrics", "progress_printer")

    def __init__(self, *, file: IO[str] | None = None, rich: bool | None = None) -> None:
        if file is not None:
            writable(file, "file", "MetricsPrinter(file=sys.stdout)")
        one_of(rich, "MetricsPrinter(rich)", (True, False, None))
        self.file, self.rich = file, rich
        self._table: MetricsTable | None = None
        self._headed: MetricsTable | None = None  # the one whose header was printed last
        self._rows: list[tuple[int, str, Mapping[str, float]]] = []  # of the table in a notebook
        self._shown = Shown()

    def on_fit_begin(self, learner: Any) -> None:
        if not isinstance(recorded := learner.cbstate.metricsepoch, Recorded):
            raise ArgumentTypeError(
                f"{self.name} prints `cbstate.metricsepoch`, and the {type(recorded).__name__} there has no `names`.\n"
                f"Fix: keep the series in a container that lists the metrics, as treadle-metrics does:\n"
                f'    learner.cbstate.metricsepoch = SeriesByPhase("epoch", names=["Loss"])'
            )
        self._table = self._headed = None
        self._rows, self._shown = [], Shown()

    def on_epoch_end(self, learner: Any, phase: Phase) -> None:
        recorded, fit = learner.cbstate.metricsepoch, position_of(learner).own
        intervals: Any = getattr(recorded, "intervals", None)
        with preserved_random_state():  # rich draws from Python's generator while it is imported
            if fit is None or not fit.validation or (intervals is None and not phase.training):
                self._print(recorded, phase, learner.cbstate.history[phase].epochs)
            elif not phase.training:
                for interval in (*(fit.training if phase == fit.validation[0] else ()), phase):
                    self._print(intervals, interval, learner.progress.steps, unit="step")

    def _print(self, recorded: Recorded, phase: Phase, number: int, unit: str = "epoch") -> None:
        """Print the row of an epoch or a step; of training there is none if no step was done."""
        last = {name: series.last for name, series in recorded[phase].items() if len(series)}
        values = {name: value for name, (iteration, value) in last.items() if iteration == number}
        if values or unit == "epoch":
            self._print_row(number, phase_label(phase), recorded.names, values, unit)

    def _print_row(self, number: int, phase: str, names: Sequence[str], values: Mapping[str, float], unit: str) -> None:
        from treadle_progress.metrics_table import MetricsTable, columns_of  # rich takes its time to be imported

        file = self.file or sys.stdout
        if self._table is not None and self._table.unit != unit:
            self._table = None
            self._rows, self._shown = [], Shown()
        self._table = table = (self._table or MetricsTable([], unit=unit)).with_room_for(phase, names)
        if self.file is None and in_notebook():
            self._rows.append((number, phase, values))
            self._show(table)
            return
        columns = columns_of(file)
        if columns is not None and table.width > columns:
            self._write(file, table.block(number, phase, values, columns))
            return
        if table is not self._headed:
            self._headed = table
            self._write(file, table.header(), bold=columns is not None if self.rich is None else self.rich)
        self._write(file, table.row(number, phase, values))

    def _show(self, table: MetricsTable) -> None:
        """Show the table in a notebook, in place of what it showed of it before."""
        header = [table.unit, "phase", *table.names]
        rows = [(number, phase, *map(values.get, table.names)) for number, phase, values in self._rows]
        text = [*table.header(), *(line for row in self._rows[-ROWS:] for line in table.row(*row))]
        self._shown.show({"text/html": html_table(header, rows), "text/plain": "\n".join(text)})

    def _write(self, file: IO[str], lines: Iterable[str], *, bold: bool = False) -> None:
        """Write lines; progress bars on the same terminal make room for them and come back below."""
        with tqdm.external_write_mode(file=file):
            for line in (encodable(line, file) for line in lines):
                if bold:
                    from rich.console import Console
                    from rich.text import Text

                    Console(file=file, soft_wrap=True, force_jupyter=False).print(Text(line, style="bold"))
                else:
                    print(line, file=file)
            if callable(flush := getattr(file, "flush", None)):
                flush()
