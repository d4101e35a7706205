"""`MetricsTable`: a table that grows by a row an epoch, or a validation; and how wide it may be."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Mapping, Sequence
from typing import IO

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from treadle_progress.text import formatted

#: The width of a column of numbers, and that of the column of phases, unless a name is wider.
NUMBER, PHASE = 10, len("ValidationPhase")

#: The width of the column of epochs or steps, and the space between columns.
NUMBERS, SPACE = {"epoch": 5, "step": 8}, 2


class MetricsTable:
    """A table with the columns epoch or step, phase and one for each metric. A column never changes its width.

    Widths are those that a terminal shows, where a character may take two columns, or none.

    Args:
        names: The metrics.
        phase: The width of the column of phases. Default: that of `ValidationPhase`.
        unit: What the rows number, "epoch" or "step".
    """

    def __init__(self, names: Sequence[str], phase: int = PHASE, unit: str = "epoch") -> None:
        self.names, self.unit = tuple(names), unit
        self._phase = max(phase, PHASE)
        self._widths = [NUMBERS[unit], self._phase, *(max(NUMBER, cell_len(name)) for name in self.names)]

    @property
    def width(self) -> int:
        """The width of its rows."""
        return sum(self._widths) + SPACE * (len(self._widths) - 1)

    def with_room_for(self, phase: str, names: Sequence[str]) -> MetricsTable:
        """This table, or a wider one if there is no room for a phase or a metric."""
        if cell_len(phase) <= self._phase and set(names) <= set(self.names):
            return self
        return MetricsTable(list(dict.fromkeys([*self.names, *names])), max(self._phase, cell_len(phase)), self.unit)

    def header(self) -> list[str]:
        """The line that heads the columns."""
        return self._row(self.unit, "phase", self.names)

    def row(self, number: int, phase: str, values: Mapping[str, float]) -> list[str]:
        """The line of an epoch or a step."""
        return self._row(str(number), phase, [shown(values, name) for name in self.names])

    def block(self, number: int, phase: str, values: Mapping[str, float], width: int) -> list[str]:
        """The lines of an epoch where there is no room for its row: a line for each metric, and no header."""
        grid = Table.grid()
        grid.add_column(overflow="fold")
        grid.add_column(width=SPACE)
        grid.add_column(justify="right", no_wrap=True)
        for name in self.names:
            grid.add_row(Text(name), "", shown(values, name))
        head = f"{number} {phase}" if self.unit == "epoch" else f"step {number} {phase}"
        return [
            *lines(Text(head, overflow="fold"), width),
            *lines(Padding(grid, (0, 0, 0, SPACE)), width),
        ]

    def _row(self, number: str, phase: str, cells: Sequence[str]) -> list[str]:
        aligned = [aligned_right(cell, width) for cell, width in zip((number, "", *cells), self._widths, strict=True)]
        aligned[1] = on_one_line(phase) + " " * (self._phase - cell_len(phase))
        return [(" " * SPACE).join(aligned).rstrip()]


def aligned_right(cell: str, width: int) -> str:
    """A text with spaces before it; by hand, since rich takes milliseconds for a row."""
    return " " * (width - cell_len(cell)) + on_one_line(cell)


def on_one_line(text: str) -> str:
    """A text without line breaks, as the representation of a phase's field may have them."""
    return " ".join(text.splitlines())


def lines(content: RenderableType, width: int) -> list[str]:
    """What rich makes of something, as lines without colours."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_jupyter=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(content)
    return [line.rstrip() for line in capture.get().splitlines()]


def columns_of(file: IO[str]) -> int | None:
    """The number of columns of a terminal; None for any other file, where lines may be as long as they are."""
    if not getattr(file, "isatty", bool)():
        return None
    try:
        columns = os.get_terminal_size(file.fileno()).columns
    except (OSError, ValueError):  # it looks like a terminal and is none of the system's
        columns = 0
    return columns or shutil.get_terminal_size().columns


def shown(values: Mapping[str, float], name: str) -> str:
    """A metric's value, or a dash if it has none."""
    return formatted(values[name]) if name in values else "-"
