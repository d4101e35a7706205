"""`noisy_learner`: a toy learner in which every drawn random number shows."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from treadle.callback import Callback
from treadle.learner import Learner


def noisy_learner(
    *callbacks: Callback | str,
    optimizer: Any = None,
    nbatches: int = 16,
    coeff: float = 3.0,
    batchsize: int = 8,
    **kwargs: Any,
) -> Learner:
    """The problem of `toy_learner`, for a net with dropout and a batch norm, from shuffled loaders.

    A number that somebody draws, a mode or a running statistic that somebody changes: after the next
    step the weights are others. The first weights are the same at every call.

    Args:
        callbacks: Its callbacks.
        optimizer: Its optimizer. Default: SGD with a learning rate of 0.001.
        nbatches: The number of batches of training, and of validation.
        coeff: The weight that is to be found.
        batchsize: The number of rows of a batch.
        **kwargs: More arguments of `Learner`. Default: no default callbacks.

    Example:
        >>> learner = noisy_learner()
        >>> _ = torch.manual_seed(1)
        >>> first = learner.fit(1), learner.model[0].weight.sum()
        >>> learner = noisy_learner()
        >>> _ = torch.manual_seed(1), torch.rand(1)
        >>> second = learner.fit(1), learner.model[0].weight.sum()
        >>> bool(first[1] == second[1])
        False
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
        inputs = torch.rand(2, nbatches * batchsize, 1)

    def loader(xs: torch.Tensor) -> DataLoader[Any]:
        return DataLoader(TensorDataset(xs, coeff * xs), batch_size=batchsize, shuffle=True)

    if optimizer is None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    settings = {"data": tuple(map(loader, inputs)), "use_default_callbacks": False, **kwargs}
    return Learner(model, nn.functional.l1_loss, optimizer=optimizer, callbacks=callbacks, **settings)
