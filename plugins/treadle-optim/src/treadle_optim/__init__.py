"""Accumulation, clipping, averaging and other changes of an update, for Treadle."""

from treadle_optim.accumulate import Accumulate
from treadle_optim.averaged_weights import AveragedWeights
from treadle_optim.centralise_gradients import CentraliseGradients
from treadle_optim.clip_gradients import ClipGradients
from treadle_optim.ema import EMA
from treadle_optim.lookahead import Lookahead
from treadle_optim.optimizer_modes import OptimizerModes
from treadle_optim.sam import SAM
from treadle_optim.swa import SWA
from treadle_optim.unfreeze import Unfreeze

__all__ = [
    "EMA",
    "SAM",
    "SWA",
    "Accumulate",
    "AveragedWeights",
    "CentraliseGradients",
    "ClipGradients",
    "Lookahead",
    "OptimizerModes",
    "Unfreeze",
]
