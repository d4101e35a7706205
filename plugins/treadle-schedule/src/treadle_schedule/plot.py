"""Pictures of schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from treadle_schedule.errors import PlotError
from treadle_schedule.schedule import AnySchedule, Schedule, as_schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_schedule(schedule: AnySchedule | float, nsteps: int) -> Figure:
    """Draw the values of a schedule over its first steps.

    Args:
        schedule: Any schedule. One that gives a value for each parameter group is drawn as a line each.
        nsteps: How many steps to draw.

    Raises:
        PlotError: if matplotlib is not installed.

    Example:
        >>> from treadle_schedule import Triangle
        >>> figure = plot_schedule(Triangle(l0=0.01, l1=0.1, period=20), nsteps=60)
        >>> figure.axes[0].get_xlabel()
        'Step'
    """
    schedule = as_schedule(schedule, "plot_schedule")
    steps = range(1, nsteps + 1)
    figure, axes = new_figure()
    axes.plot(steps, [schedule(t) for t in steps])
    axes.set(xlabel="Step", ylabel="Value", title=str(schedule) if isinstance(schedule, Schedule) else "")
    return figure


def new_figure() -> tuple[Figure, Axes]:
    """An empty picture with one pair of axes, which no window and no global list of figures knows of.

    Raises:
        PlotError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError("Pictures need matplotlib: pip install 'treadle-schedule[plot]'") from error
    figure = Figure(layout="constrained")
    return figure, figure.subplots()
