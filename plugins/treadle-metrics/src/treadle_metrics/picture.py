"""Recorded series as curves, and records of counts as bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.errors import ArgumentValueError, did_you_mean

from treadle_metrics.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from treadle_metrics.phase_series import SeriesByPhase

#: The size of one pair of axes, in inches.
WIDTH, HEIGHT = 5.0, 3.6

#: With more points than this, a curve has no marks.
MARKED = 40


def draw(recorded: SeriesByPhase, path: str | Path | None = None, names: Iterable[str] | None = None) -> Figure:
    """Draw curves: one pair of axes for each name, in it a line for each phase.

    Args:
        recorded: What was recorded.
        path: Where to save the picture. Default: nowhere.
        names: What to draw. Default: everything.

    Raises:
        ArgumentValueError: if nothing is recorded, or not under that name.
        MissingExtra: if matplotlib is not installed.
    """
    there = [name for name in recorded.names if recorded.curves(name)]
    names = [names] if isinstance(names, str) else there if names is None else list(names)
    for name in names:
        if name not in there:
            raise ArgumentValueError(f"There is no curve of {name!r}. {did_you_mean(name, there)}")
    if not names:
        raise ArgumentValueError("Nothing is recorded yet, so there is no curve. Train first: learner.fit(10)")
    figure, every_axes = blank(len(names))
    for axes, name in zip(every_axes, names, strict=True):
        for label, series in recorded.curves(name).items():
            mark = "o" if len(series) <= MARKED else ""
            axes.plot(series.iterations, series.values, marker=mark, markersize=3, label=label)
        axes.set(title=name, xlabel=recorded.unit)
        mark_whole_numbers(axes.xaxis)
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    return saved(figure, path)


def draw_bars(rows: Sequence[Mapping[str, Any]], path: str | Path | None = None) -> Figure:
    """Draw bars: one pair of axes for each column, in it a bar for each row.

    Args:
        rows: What to draw; "phase" says what stands below a row's bar, the other columns are numbers.
        path: Where to save the picture. Default: nowhere.

    Raises:
        ArgumentValueError: if there is no row.
        MissingExtra: if matplotlib is not installed.
    """
    if not rows:
        raise ArgumentValueError("Nothing is recorded yet, so there is no bar. Train first: learner.fit(10)")
    columns = [name for name in rows[0] if name != "phase"]
    figure, every_axes = blank(len(columns))
    for axes, name in zip(every_axes, columns, strict=True):
        axes.bar([row["phase"] for row in rows], [row[name] for row in rows])
        axes.set(title=name)
        mark_whole_numbers(axes.yaxis)
    return saved(figure, path)


def blank(columns: int) -> tuple[Figure, Sequence[Axes]]:
    """A figure with so many axes side by side; it is in no window.

    Raises:
        MissingExtra: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra(
            'A picture needs matplotlib, which cannot be imported. Install it: pip install "treadle-metrics[plot]"'
        ) from error
    figure = Figure(figsize=(WIDTH * columns, HEIGHT), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def mark_whole_numbers(axis: Axis) -> None:
    """Put the marks of an axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def saved(figure: Figure, path: str | Path | None) -> Figure:
    """The figure, saved into a folder that is made if it is not there; or only the figure."""
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    return figure
