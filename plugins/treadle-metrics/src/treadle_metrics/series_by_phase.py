"""`SeriesByPhase`: recorded series by phase and name; as rows, as a CSV file and as curves."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from treadle import Phase, Series
from treadle.authoring import did_you_mean, file_path, html_table, list_of, phase_label
from treadle.errors import ArgumentValueError

from treadle_metrics.by_phase import ByPhase, drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Where the state of `intervals` stands, beside the keys of phases, which have a colon.
INTERVALS = "intervals"

#: With more points than this, a curve has no marks.
MARKED = 40


class SeriesByName(dict[str, Series]):
    """What was recorded in a phase: a `Series` for each name.

    Raises:
        KeyError: for a name that is not recorded; it lists those that are.

    Example:
        >>> recorded = SeriesByName()
        >>> recorded.of("Loss").push(1, 0.5)
        >>> recorded["Loss"].last
        (1, 0.5)
        >>> try:
        ...     recorded["Lose"]
        ... except KeyError as error:
        ...     print(error.args[0])
        Nothing is recorded here as 'Lose'. Did you mean `Loss`?
    """

    def __missing__(self, name: str) -> NoReturn:
        raise KeyError(f"Nothing is recorded here as {name!r}. {did_you_mean(str(name), self)}")

    def of(self, name: str) -> Series:
        """The series of that name, to write to; made if there is none."""
        series = self.get(name)
        if series is None:
            series = self[name] = Series()
        return series

    def to_dict(self) -> dict[str, dict[str, list[Any]]]:
        """The series' iterations and values as lists, by name."""
        return {
            name: {"iterations": list(series.iterations), "values": list(series.values)}
            for name, series in self.items()
        }

    def _repr_html_(self) -> str:
        """As a table with a column for each name, for notebooks."""
        rows: dict[int, list[float | None]] = {}
        for place, series in enumerate(self.values()):
            for iteration, value in zip(series.iterations, series.values, strict=True):
                rows.setdefault(iteration, [None] * len(self))[place] = value
        return html_table(["iteration", *self], [(iteration, *rows[iteration]) for iteration in sorted(rows)])

    def state_dict(self) -> dict[str, Any]:
        return {name: series.state_dict() for name, series in self.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.clear()
        for name, series in state.items():
            self.of(name).load_state_dict(series)


class SeriesByPhase(ByPhase[SeriesByName]):
    """What was recorded, by phase and name; `learner.cbstate.metricsepoch` and its like are one.

    Args:
        unit: What the iterations number, "epoch" or "step"; heads the table's first column.
        names: The names that are going to be recorded, so that a table can head its columns before
            the first value has come. Default: none; those that are recorded join in any case.

    Attributes:
        intervals: In a fit that validates by steps, the same from validation to validation, under the number of
            training steps: of training the steps since the last validation, and what was validated then. None where
            no such fit was.

        complete: Whether nothing is going to be recorded under another name than those that are expected, or recorded
            already. `Metrics` knows when each of its metrics has given a value: a function may return a dict.

    Example:
        >>> from treadle import TrainingPhase
        >>> recorded = SeriesByPhase("epoch")
        >>> recorded.of(TrainingPhase()).of("Loss").push(1, 0.5)
        >>> recorded.rows()
        [{'epoch': 1, 'phase': 'TrainingPhase', 'Loss': 0.5}]
        >>> recorded.to_dict()
        {'TrainingPhase': {'Loss': {'iterations': [1], 'values': [0.5]}}}
    """

    def __init__(self, unit: str, names: Iterable[str] = ()) -> None:
        super().__init__(SeriesByName)
        self.unit = unit
        self.expected = tuple(names)
        self.complete = False
        self.intervals: SeriesByPhase | None = None

    def interval(self, phase: Phase) -> SeriesByName:
        """The series of a phase from validation to validation, to write to."""
        if self.intervals is None:
            self.intervals = SeriesByPhase("step", self.expected)
        return self.intervals.of(phase)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """The states of the series by `phase_key`, and of those from validation to validation."""
        intervals = {} if self.intervals is None else {INTERVALS: self.intervals.state_dict()}
        return {**super().state_dict(), **intervals}

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        super().load_state_dict({key: series for key, series in state.items() if key != INTERVALS})
        self.intervals = None
        if INTERVALS in state:
            self.intervals = SeriesByPhase("step", self.expected)
            self.intervals.load_state_dict(state[INTERVALS])

    @property
    def names(self) -> list[str]:
        """The names, the expected ones first, then in the order in which they came."""
        return list(dict.fromkeys([*self.expected, *(name for series in self.values() for name in series)]))

    def rows(self) -> list[dict[str, Any]]:
        """A dictionary for each iteration of each phase, in their order; `pandas.DataFrame` takes it.

        A row has the columns `unit`, "phase" and one for each name; None where nothing was recorded.
        """
        rows: dict[tuple[int, int], dict[str, Any]] = {}
        empty = dict.fromkeys(self.names)
        for place, (phase, by_name) in enumerate(self.items()):
            for name, series in by_name.items():
                for iteration, value in zip(series.iterations, series.values, strict=True):
                    row = rows.get((iteration, place))
                    if row is None:
                        row = rows[iteration, place] = {self.unit: iteration, "phase": phase_label(phase), **empty}
                    row[name] = value
        return [rows[key] for key in sorted(rows)]

    def to_csv(self, path: str | Path) -> None:
        """Write the rows into a CSV file, in a folder that is made if needed; an existing file is replaced."""
        path = file_path(path, "path", 'to_csv("history.csv")')
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [self.unit, "phase", *self.names], lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows())

    def plot(self, path: str | Path | None = None, *, names: str | Iterable[str] | None = None) -> Figure:
        """Draw the curves: one pair of axes for each name, in it a line for each phase.

        Args:
            path: Where to save the picture; its ending is the format. Default: nowhere.
            names: What to draw. Default: everything.

        Raises:
            ArgumentValueError: if nothing is recorded, or not under that name.
            MissingExtra: if matplotlib is not installed.
        """
        recorded = [name for name in self.names if self.curves(name)]
        if names is None:
            names = recorded
        names = [names] if isinstance(names, str) else list_of(names, "names", str, 'plot(names=["Loss"])')
        for name in names:
            if name not in recorded:
                raise ArgumentValueError(
                    f"There is no curve of {name!r}. {did_you_mean(name, recorded)}\nFix: name one that is recorded."
                )

        def curves(axes: Any, name: str) -> Any:
            for label, series in self.curves(name).items():
                mark = "o" if len(series) <= MARKED else ""
                axes.plot(series.iterations, series.values, marker=mark, markersize=3, label=label)
            axes.set_xlabel(self.unit)
            axes.grid(visible=True, alpha=0.3)
            axes.legend()
            return axes.xaxis

        return drawn(names, curves, path)

    def curves(self, name: str) -> dict[str, Series]:
        """The series of a name, by the phases' labels."""
        return {phase_label(phase): series[name] for phase, series in self.items() if name in series}
