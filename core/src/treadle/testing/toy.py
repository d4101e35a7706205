"""`toy_learner`: a learner with a tiny problem, for tests and examples."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from treadle.callback import Callback
from treadle.learner import Learner


def toy_learner(
    *callbacks: Callback | str,
    optimizer: Any = None,
    nbatches: int = 16,
    coeff: float = 3.0,
    batchsize: int = 8,
    **kwargs: Any,
) -> Learner:
    """A learner that finds one weight: y = coeff * x, by the mean absolute error.

    The inputs, of shape (batchsize, 1), are whole numbers from 1 to 100. They are the same at every call, and so
    is the first weight.

    Args:
        callbacks: Its callbacks.
        optimizer: Its optimizer. Default: SGD with a learning rate of 0.001.
        nbatches: The number of batches of training, and of validation.
        coeff: The weight that is to be found.
        batchsize: The number of rows of a batch.
        **kwargs: More arguments of `Learner`. Default: no default callbacks.

    Example:
        >>> learner = toy_learner()
        >>> learner.fit(5).epochs
        5
        >>> round(learner.model.weight.item(), 1)
        3.0
    """
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)

    def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
        inputs = [torch.randint(1, 101, (batchsize, 1), generator=generator).float() for _ in range(nbatches)]
        return [(xs, coeff * xs) for xs in inputs]

    if optimizer is None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    settings = {"data": (batches(), batches()), "use_default_callbacks": False, **kwargs}
    return Learner(model, nn.functional.l1_loss, optimizer=optimizer, callbacks=callbacks, **settings)
