"""Callbacks written for fastai v1, in a Treadle run, with what they are written with."""

from treadle_fastai.annealing import (
    AnnealFunc,
    Stepper,
    annealing_cos,
    annealing_exp,
    annealing_linear,
    annealing_no,
    annealing_poly,
)
from treadle_fastai.average_metric import AverageMetric
from treadle_fastai.callback import Callback, LearnerCallback
from treadle_fastai.callback_handler import CallbackHandler
from treadle_fastai.gradient_clipping import GradientClipping
from treadle_fastai.lr_finder import LRFinder
from treadle_fastai.one_cycle_scheduler import OneCycleScheduler
from treadle_fastai.optim_wrapper import OptimWrapper, lr_range
from treadle_fastai.smoothen_value import SmoothenValue

__all__ = [
    "AnnealFunc",
    "AverageMetric",
    "Callback",
    "CallbackHandler",
    "GradientClipping",
    "LRFinder",
    "LearnerCallback",
    "OneCycleScheduler",
    "OptimWrapper",
    "SmoothenValue",
    "Stepper",
    "annealing_cos",
    "annealing_exp",
    "annealing_linear",
    "annealing_no",
    "annealing_poly",
    "lr_range",
]
