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
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: on a terminal as wide as it is, elsewhere a line for each row, however long."""
    if not sys.stdout.isatty():
        widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
        for row in (columns, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)
