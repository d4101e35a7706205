"""A callback for Treadle that keeps the smallest training loss."""

from .smallest_loss import SmallestLoss

__all__ = ["SmallestLoss"]
