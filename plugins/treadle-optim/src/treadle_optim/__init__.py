"""Accumulation, clipping, averaging and other changes of an update, for Treadle."""

from treadle_optim.averaged_weights import AveragedWeights
from treadle_optim.ema import EMA

__all__ = ["EMA", "AveragedWeights"]
