"""Recorded series by name, and these by phase: as a table and as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from treadle import Series
from treadle.errors import did_you_mean

from treadle_metrics.by_phase import ByPhase, phase_label
from treadle_metrics.table import rows_of, write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SeriesByName(dict[str, Series]):
    """What was recorded in a phase: a `Series` for each name.

    Raises:
        KeyError: for a name that is not there; it says what there is.

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

    def state_dict(self) -> dict[str, Any]:
        """The series' own states, by name."""
        return {name: series.state_dict() for name, series in self.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.clear()
        for name, own in state.items():
            self[name] = Series()
            self[name].load_state_dict(own)


class SeriesByPhase(ByPhase[SeriesByName]):
    """What was recorded, by phase and name; `learner.cbstate.metricsepoch` and its like are one.

    Args:
        unit: What the iterations number, "epoch" or "step"; heads the table's first column.
        names: The names that are going to be recorded, so that a table can head its columns before
            the first value has come. Default: none; those that are recorded join in any case.

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

    @property
    def names(self) -> list[str]:
        """The names, those that were expected first, then in the order in which they came."""
        return list(dict.fromkeys([*self.expected, *(name for series in self.values() for name in series)]))

    def rows(self) -> list[dict[str, Any]]:
        """A dictionary for each iteration of each phase, in their order; `pandas.DataFrame` takes it.

        A row has the columns `unit`, "phase" and one for each name; None where nothing was recorded.
        """
        return rows_of(self)

    def to_csv(self, path: str | Path) -> None:
        """Write the rows into a CSV file, whose folder is made if it is not there.

        Args:
            path: The file; one that is there is replaced.
        """
        write_csv(path, [self.unit, "phase", *self.names], self.rows())

    def plot(self, path: str | Path | None = None, *, names: Iterable[str] | None = None) -> Figure:
        """Draw the curves: one pair of axes for each name, in it a line for each phase.

        Args:
            path: Where to save the picture; its ending says in which format. Default: nowhere.
            names: What to draw. Default: everything.

        Returns:
            The matplotlib figure.

        Raises:
            ArgumentValueError: if nothing is recorded, or not under that name.
            MissingExtra: if matplotlib is not installed.
        """
        from treadle_metrics.picture import draw

        return draw(self, path, names)

    def curves(self, name: str) -> dict[str, Series]:
        """The series of a name, by the phases' labels."""
        return {phase_label(phase): series[name] for phase, series in self.items() if name in series}
