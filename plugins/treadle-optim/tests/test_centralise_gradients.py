"""`CentraliseGradients`: what the loop by hand does between the gradients and the optimizer."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from treadle import Learner
from treadle_optim import Accumulate, CentraliseGradients, ClipGradients


def network() -> nn.Module:
    torch.manual_seed(0)
    parts = [nn.Conv1d(2, 3, 2), nn.Flatten(), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 1)]
    return nn.Sequential(*parts)


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(4, 2, 3, generator=generator) for _ in range(count)]
    return [(xs, xs.sum((1, 2)).unsqueeze(1)) for xs in inputs]


def by_hand(n: int, norm: float | None, count: int) -> nn.Module:
    model, lossfn, data = network(), nn.MSELoss(), batches(count)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    torch.manual_seed(7)
    for _ in range(2):
        optimizer.zero_grad()
        k = 0
        for i, (xs, ys) in enumerate(data, 1):
            (lossfn(model(xs), ys) / n).backward()
            k += 1
            if k == n or i == count:
                for parameter in model.parameters():
                    if k < n:
                        parameter.grad *= n / k
                    if parameter.ndim > 1:
                        rest = tuple(range(1, parameter.ndim))
                        parameter.grad -= parameter.grad.mean(dim=rest, keepdim=True)
                if norm:
                    nn.utils.clip_grad_norm_(model.parameters(), norm)
                optimizer.step()
                optimizer.zero_grad()
                k = 0
    return model


@pytest.mark.parametrize("norm", [None, 0.5])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_gradients_of_each_unit_lose_their_mean_before_they_are_clipped(n, norm) -> None:
    model = network()
    callbacks = [*([ClipGradients(norm=norm)] if norm else []), CentraliseGradients(), Accumulate(n)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    learner = Learner(model, nn.MSELoss(), optimizer=optimizer, callbacks=callbacks, use_default_callbacks=False)
    torch.manual_seed(7)
    learner.fit(2, (batches(5),))
    expected = by_hand(n, norm, 5).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
