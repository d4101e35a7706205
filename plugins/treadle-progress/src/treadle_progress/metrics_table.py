"""`MetricsTable`: the layout of a table that grows a row at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: The width of a column of numbers, unless its name is wider.
NUMBER = 10

#: The width of the column of phases, unless one is wider.
PHASE = len("ValidationPhase")


class MetricsTable:
    """A table with the columns epoch, phase and one for each metric. A column never changes its width.

    Args:
        names: The metrics, in the order of their columns.
        phase: The width of the column of phases.

    Example:
        >>> table = MetricsTable(["Loss", "Accuracy"])
        >>> print(table.header()); print(table.row(1, "TrainingPhase", {"Loss": 0.25}))
        epoch  phase                  Loss    Accuracy
            1  TrainingPhase        0.2500           -
    """

    def __init__(self, names: Sequence[str], phase: int = PHASE) -> None:
        self.names = tuple(names)
        self._phase = max(phase, PHASE)

    def fits(self, phase: str, names: Sequence[str]) -> bool:
        """Whether a phase and metrics have their place in this table."""
        return len(phase) <= self._phase and set(names) <= set(self.names)

    def wider(self, phase: str, names: Sequence[str]) -> MetricsTable:
        """A table like this one in which they have their place."""
        return MetricsTable([*self.names, *(n for n in names if n not in self.names)], max(self._phase, len(phase)))

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
    """A number in ten characters at most.

    Example:
        >>> formatted(0.98765), formatted(0.0), formatted(-0.000012345), formatted(float("nan"))
        ('0.9877', '0.0000', '-1.234e-05', 'nan')
    """
    fixed = value == 0 or 1e-3 <= abs(value) < 1e4
    return f"{value:.4f}" if fixed else f"{value:.3e}"
