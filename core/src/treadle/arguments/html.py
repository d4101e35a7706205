"""`html_table`: how things show themselves in a notebook. Plain tables, in the notebook's own colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

#: The maximum number of rows that a table shows: those at its beginning and at its end.
ROWS = 20


def html_table(header: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "", most: int = ROWS) -> str:
    """A table in HTML, for a method `_repr_html_`. All texts are escaped, and it has no colours of its own.

    Args:
        header: The names of the columns.
        rows: What stands in them: numbers with four digits, None as nothing, all else as text.
        caption: What stands above it. Default: nothing.
        most: The maximum number of rows, from the beginning and the end; of the others it shows how many there are.

    Example:
        >>> print(html_table(["epoch", "Loss"], [(1, 0.123456)]))
        <table><thead><tr><th>epoch</th><th>Loss</th></tr></thead><tbody><tr><td style="text-align: right">1</td><td style="text-align: right">0.1235</td></tr></tbody></table>
    """  # noqa: E501
    listed = list(rows)
    left = len(listed) - most
    shown: list[str] = [line(row) for row in (listed if left <= 0 else listed[: most // 2])]
    if left > 0:
        shown.append(f'<tr><td colspan="{len(header)}" style="text-align: center">&#8942; {left} more</td></tr>')
        shown += [line(row) for row in listed[len(listed) - (most - most // 2) :]]
    head = "".join(f"<th>{escaped(name)}</th>" for name in header)
    above = f'<caption style="text-align: left">{escaped(caption)}</caption>' if caption else ""
    return "".join(chain(["<table>", above, f"<thead><tr>{head}</tr></thead><tbody>"], shown, ["</tbody></table>"]))


def escaped(text: str) -> str:
    """A text as HTML shows it."""
    from html import escape  # needed rarely, and loaded then

    return escape(text)


def line(row: Sequence[Any]) -> str:
    """A row of the table."""
    return f"<tr>{''.join(map(cell, row))}</tr>"


def cell(value: Any) -> str:
    """What stands in a column of a row: a number to the right, a text to the left."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f'<td style="text-align: right">{value if isinstance(value, int) else f"{value:.4g}"}</td>'
    text = "" if value is None else escaped(str(value)).replace("\n", "<br>")
    return f'<td style="text-align: left">{text}</td>'
