"""Flux.jl's functional training loop and its loader of data in memory, on Treadle."""

from treadle_flux.data_loader import DataLoader
from treadle_flux.objective import DomainError, ObjectivePhase, skip, stop
from treadle_flux.params import Params, params
from treadle_flux.patience import early_stopping, patience, plateau
from treadle_flux.throttle import throttle
from treadle_flux.train import epochs, train
from treadle_flux.update import update

__all__ = [
    "DataLoader",
    "DomainError",
    "ObjectivePhase",
    "Params",
    "early_stopping",
    "epochs",
    "params",
    "patience",
    "plateau",
    "skip",
    "stop",
    "throttle",
    "train",
    "update",
]
