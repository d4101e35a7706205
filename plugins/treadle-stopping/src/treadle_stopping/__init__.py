"""Early stopping and the non-finite loss guard for Treadle."""

from treadle_stopping.criterion import Criterion, Disjunction, Never
from treadle_stopping.early_stop import EarlyStop
from treadle_stopping.early_stopping import EarlyStopping
from treadle_stopping.limits import NumberLimit, TimeLimit
from treadle_stopping.patience import UP, NoImprovement, NumberSinceBest, Patience
from treadle_stopping.prechelt import GL, PQ
from treadle_stopping.stop_on_nan_loss import NonFiniteGradients, NonFiniteLoss, StopOnNaNLoss
from treadle_stopping.stopper import EarlyStopper, stopping_time
from treadle_stopping.values import InvalidValue, Threshold

__all__ = [
    "GL",
    "PQ",
    "UP",
    "Criterion",
    "Disjunction",
    "EarlyStop",
    "EarlyStopper",
    "EarlyStopping",
    "InvalidValue",
    "Never",
    "NoImprovement",
    "NonFiniteGradients",
    "NonFiniteLoss",
    "NumberLimit",
    "NumberSinceBest",
    "Patience",
    "StopOnNaNLoss",
    "Threshold",
    "TimeLimit",
    "stopping_time",
]
