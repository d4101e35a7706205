"""What this distribution refuses."""

from __future__ import annotations

from treadle import TreadleError


class ScheduleError(TreadleError, ValueError):
    """A schedule was given a value from which no schedule can be made."""


class ScheduleRangeError(TreadleError, IndexError):
    """A schedule was asked for a step that it does not have."""


class HyperParameterError(TreadleError, ValueError):
    """A hyperparameter cannot be found, or cannot take a value."""


class LRFinderError(TreadleError, ValueError):
    """The learning rate finder cannot run, or has too little to go by."""


class PlotError(TreadleError, ImportError):
    """A picture was asked for where matplotlib is not installed."""
