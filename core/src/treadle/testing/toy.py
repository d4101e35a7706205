"""`toy_learner` and `noisy_learner`: learners with a tiny problem, for tests and examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from treadle.arguments import real_number, whole_number
from treadle.callback import Callback
from treadle.learner import Learner
from treadle.plugins.selection import check_callback_instance


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
        optimizer: Default: SGD with a learning rate of 0.001.
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
    check_arguments("toy_learner", callbacks, nbatches, coeff, batchsize)
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)

    def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
        inputs = [torch.randint(1, 101, (batchsize, 1), generator=generator).float() for _ in range(nbatches)]
        return [(xs, coeff * xs) for xs in inputs]

    return _learner(model, (batches(), batches()), optimizer, callbacks, kwargs)


def noisy_learner(
    *callbacks: Callback | str,
    optimizer: Any = None,
    nbatches: int = 16,
    coeff: float = 3.0,
    batchsize: int = 8,
    **kwargs: Any,
) -> Learner:
    """A learner whose training shows every random number that is drawn: dropout, a batch norm, shuffled loaders.

    Where a callback draws a random number, or changes a mode or a running statistic, the weights differ
    after the next step. The first weights are the same at every call.

    Args: as in `toy_learner`; the inputs are from 0 to 1.

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
    check_arguments("noisy_learner", callbacks, nbatches, coeff, batchsize, rows=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
        inputs = torch.rand(2, nbatches * batchsize, 1)

    def loader(xs: torch.Tensor) -> DataLoader[Any]:
        return DataLoader(TensorDataset(xs, coeff * xs), batch_size=batchsize, shuffle=True)

    return _learner(model, tuple(map(loader, inputs)), optimizer, callbacks, kwargs)


def check_arguments(
    name: str, callbacks: Sequence[Any], nbatches: Any, coeff: Any, batchsize: Any, *, rows: int = 1
) -> None:
    """Refuse what makes no toy.

    Args:
        rows: The least number of rows of a batch.
    """
    for callback in callbacks:
        if not isinstance(callback, str):
            check_callback_instance(callback)
    whole_number(nbatches, "nbatches", f"{name}(nbatches=16)", least=1)
    whole_number(batchsize, "batchsize", f"{name}(batchsize=8)", least=rows)
    real_number(coeff, "coeff", f"{name}(coeff=3.0)", finite=True)


def _learner(
    model: nn.Module, data: tuple[Any, ...], optimizer: Any, callbacks: Sequence[Callback | str], kwargs: dict[str, Any]
) -> Learner:
    if optimizer is None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    settings = {"data": data, "use_default_callbacks": False, **kwargs}
    return Learner(model, nn.functional.l1_loss, optimizer=optimizer, callbacks=callbacks, **settings)
