"""A net with dropout and BatchNorm and its batches, for the loops by hand and the learners beside them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import mse_loss
from treadle import Callback, Learner, Read, ValidationPhase


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))


def batches(n, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(5, 3, generator=generator), torch.randn(5, 1, generator=generator)) for _ in range(n)]


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01)


def learner_of(*callbacks, n=7, validation=3, model=None, **settings):
    return Learner(
        network() if model is None else model,
        mse_loss,
        optimizer=settings.pop("optimizer", adam),
        data=(batches(n), batches(validation, seed=2)),
        callbacks=callbacks,
        use_default_callbacks=False,
        **settings,
    )


def equal(first, second):
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(one[name].equal(two[name]) for name in one)


class Losses(Callback):
    """Keep the losses of validation."""

    state_access = {"step.loss": Read}

    def __init__(self):
        self.values = []

    def on_step_end(self, learner, phase: ValidationPhase):
        self.values.append(learner.step.loss.item())
