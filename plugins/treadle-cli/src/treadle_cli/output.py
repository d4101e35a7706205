"""What a command prints: tables, JSON, and what is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import typer


def fail(text: str, status: int = 2) -> NoReturn:
    """End the command with what is wrong and how to fix it, on stderr.

    Args:
        status: 1 for a broken plugin or an unresolved conflict, 2 for wrong use.
    """
    sys.stdout.flush()
    print(f"Error: {text}", file=sys.stderr)
    raise typer.Exit(status)


def print_json(value: Any) -> None:
    """Print a value for a program to read."""
    print(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: a line for each row; on a terminal that is too narrow for that, a paragraph for each row."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table

    console = Console(markup=False, highlight=False)
    if sum(widths) + 2 * len(widths) <= console.width:
        table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    label = max(map(len, columns)) + 2
    for first, second, *others in rows:
        console.print(first, style="bold", end="  ", soft_wrap=True)
        console.print(second, style="dim", soft_wrap=True)
        facts = Table.grid("", "", padding=(0, 1))
        facts.columns[0].min_width, facts.columns[1].overflow = label, "fold"
        for column, cell in zip(columns[2:], others, strict=True):
            if cell not in ("", "-"):
                facts.add_row(column, cell)
        console.print(Padding(facts, (0, 0, 0, 4)))
