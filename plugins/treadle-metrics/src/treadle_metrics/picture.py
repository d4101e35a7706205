"""Recorded series as curves."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from treadle.errors import ArgumentValueError, did_you_mean

from treadle_metrics.errors import MissingExtra

if TYPE_CHECKING:
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
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingExtra(
            'A picture needs matplotlib, which cannot be imported. Install it: pip install "treadle-metrics[plot]"'
        ) from error
    figure = Figure(figsize=(WIDTH * len(names), HEIGHT), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for label, series in recorded.curves(name).items():
            mark = "o" if len(series) <= MARKED else ""
            axes.plot(series.iterations, series.values, marker=mark, markersize=3, label=label)
        axes.set(title=name, xlabel=recorded.unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
    return figure
