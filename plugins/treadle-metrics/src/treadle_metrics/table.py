"""Recorded series as rows and as a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle_metrics.by_phase import phase_label

if TYPE_CHECKING:
    from treadle_metrics.phase_series import SeriesByPhase


def rows_of(recorded: SeriesByPhase) -> list[dict[str, Any]]:
    """A dictionary for each iteration of each phase, by iteration and then by phase."""
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    empty = dict.fromkeys(recorded.names)
    for place, (phase, by_name) in enumerate(recorded.items()):
        for name, series in by_name.items():
            for iteration, value in zip(series.iterations, series.values, strict=True):
                row = rows.get((iteration, place))
                if row is None:
                    row = rows[iteration, place] = {recorded.unit: iteration, "phase": phase_label(phase), **empty}
                row[name] = value
    return [rows[key] for key in sorted(rows)]


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows into a CSV file, with a header; the folder is made if it is not there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
