"""Errors of this distribution's own."""

from __future__ import annotations

from treadle.errors import TreadleError


class MetricError(TreadleError, ValueError):
    """A metric gave what cannot be recorded, or got what it cannot measure."""


class MissingExtra(TreadleError, ImportError):
    """Something was asked for that needs a library which is not installed."""
