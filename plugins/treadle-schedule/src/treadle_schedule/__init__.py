"""Hyperparameter schedules and the learning rate finder for Treadle."""

from treadle_schedule.compose import Interpolator, Loop, Sequence, Shifted, Shortened
from treadle_schedule.decay import Exp, Inv, Poly, Step
from treadle_schedule.hyperparameter import HyperParameter, HyperParameterError, get_hyperparameter, set_hyperparameter
from treadle_schedule.lr_finder import LRFinder
from treadle_schedule.lr_finder_result import LRFinderError, LRFinderResult
from treadle_schedule.optimizer_values import LearningRate, Momentum, OptimizerValue, WeightDecay
from treadle_schedule.plateau import ReduceOnPlateau
from treadle_schedule.ramps import OneCycle, Ramp, cosine, linear, onecycle, sine_in, sine_out
from treadle_schedule.schedule import Constant, PlotError, Schedule, ScheduleError, ScheduleRangeError, plot_schedule
from treadle_schedule.scheduler import Scheduler
from treadle_schedule.torch_schedule import TorchSchedule
from treadle_schedule.waves import CosAnneal, Sin, SinDecay2, SinExp, Triangle, TriangleDecay2, TriangleExp

__all__ = [
    "Constant",
    "CosAnneal",
    "Exp",
    "HyperParameter",
    "HyperParameterError",
    "Interpolator",
    "Inv",
    "LRFinder",
    "LRFinderError",
    "LRFinderResult",
    "LearningRate",
    "Loop",
    "Momentum",
    "OneCycle",
    "OptimizerValue",
    "PlotError",
    "Poly",
    "Ramp",
    "ReduceOnPlateau",
    "Schedule",
    "ScheduleError",
    "ScheduleRangeError",
    "Scheduler",
    "Sequence",
    "Shifted",
    "Shortened",
    "Sin",
    "SinDecay2",
    "SinExp",
    "Step",
    "TorchSchedule",
    "Triangle",
    "TriangleDecay2",
    "TriangleExp",
    "WeightDecay",
    "cosine",
    "get_hyperparameter",
    "linear",
    "onecycle",
    "plot_schedule",
    "set_hyperparameter",
    "sine_in",
    "sine_out",
]
