"""`Accumulate`: every update is the mean over its batches, as in the loop that is written by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from treadle import (
    Callback,
    Learner,
)
from treadle_optim import Accumulate

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.3), nn.Linear(5, 1))


def batches(sizes: list[int]) -> Batches:
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(size, 3, generator=generator) for size in sizes]
    return [(xs, xs.sum(1, keepdim=True)) for xs in inputs]


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def learner_with(*callbacks: Callback, model: nn.Module | None = None, **options: Any) -> Learner:
    settings = {"optimizer": sgd, "callbacks": callbacks, "use_default_callbacks": False, **options}
    return Learner(model or network(), nn.MSELoss(), **settings)


def same(first: nn.Module, second: nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# The loops that an expert writes by hand.


def mean_by_hand(n: int, epochs: int, data: Batches) -> nn.Module:
    """The mean over the batches of each update; the last one of an epoch may have fewer."""
    model, lossfn = network(), nn.MSELoss()
    optimizer = sgd(model.parameters())
    torch.manual_seed(7)
    for _ in range(epochs):
        k = 0
        for i, (xs, ys) in enumerate(data, 1):
            if k == 0:
                optimizer.zero_grad()
            loss = lossfn(model(xs), ys)
            (loss / n).backward()
            k += 1
            if k == n or i == len(data):
                if k < n:
                    for parameter in model.parameters():
                        parameter.grad *= n / k
                optimizer.step()
                k = 0
    return model


def weighted_by_hand(n: int, epochs: int, data: Batches, weight: Callable[[Any, Any], float]) -> nn.Module:
    """The mean over all rows, or whatever the weights count, of each update."""
    model, lossfn = network(), nn.MSELoss()
    optimizer = sgd(model.parameters())
    torch.manual_seed(7)
    for _ in range(epochs):
        total, k = 0.0, 0
        for i, (xs, ys) in enumerate(data, 1):
            if k == 0:
                optimizer.zero_grad()
            loss = lossfn(model(xs), ys)
            (loss * weight(xs, ys)).backward()
            total, k = total + weight(xs, ys), k + 1
            if k == n or i == len(data):
                for parameter in model.parameters():
                    parameter.grad /= total
                optimizer.step()
                total, k = 0.0, 0
    return model


SIZES = st.lists(st.integers(2, 6), min_size=1, max_size=9)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 3), SIZES)
def test_every_update_is_the_mean_over_its_batches(n, epochs, sizes) -> None:
    data = batches(sizes)
    learner = learner_with(Accumulate(n))
    torch.manual_seed(7)
    learner.fit(epochs, (data,))
    assert same(learner.model, mean_by_hand(n, epochs, data))
    assert (learner.progress.steps, learner.progress.updates) == (epochs * len(data), epochs * -(-len(data) // n))


def tokens(step: Any) -> Any:
    return (step.ys > 0).sum() + 1


WEIGHTS = {
    "rows": ("rows", lambda xs, ys: len(xs)),
    "a number": (lambda step: 0.5 + step.xs.shape[0], lambda xs, ys: 0.5 + xs.shape[0]),
    "a tensor": (tokens, lambda xs, ys: (ys > 0).sum().item() + 1),
}


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 5), st.integers(1, 3), SIZES, st.sampled_from(sorted(WEIGHTS)))
def test_with_weights_every_update_is_the_mean_over_all_that_they_count(n, epochs, sizes, name) -> None:
    data, (weight, by_hand) = batches(sizes), WEIGHTS[name]
    learner = learner_with(Accumulate(n, weight=weight))
    torch.manual_seed(7)
    learner.fit(epochs, (data,))
    assert same(learner.model, weighted_by_hand(n, epochs, data, by_hand))


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 4), st.lists(st.integers(1, 6), min_size=1, max_size=7))
def test_by_rows_the_gradients_are_those_of_the_big_batches(n, sizes) -> None:
    data = batches(sizes)
    groups = [data[i : i + n] for i in range(0, len(data), n)]
    big = [(torch.cat([xs for xs, _ in group]), torch.cat([ys for _, ys in group])) for group in groups]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    whole = learner_with(model=copy.deepcopy(model))
    parts = learner_with(Accumulate(n, weight="rows"), model=model)
    for learner, part in ((whole, big), (parts, data)):
        learner.fit(1, ([(xs.double(), ys.double()) for xs, ys in part],))
    for name, parameter in whole.params.items():
        assert torch.allclose(parameter, parts.params[name], rtol=0, atol=1e-12)


class Endless:
    """Batches of a length that nobody knows."""

    def __init__(self, data: Batches) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Any]:
        return iter(self.data)


def test_the_last_update_of_an_epoch_is_right_where_nobody_knows_how_long_the_data_are() -> None:
    data = batches([4, 3, 5, 2, 4])
    learner = learner_with(Accumulate(3))
    torch.manual_seed(7)
    learner.fit(2, (Endless(data),))
    assert same(learner.model, mean_by_hand(3, 2, data))


def test_of_one_batch_it_does_nothing() -> None:
    one = Accumulate(1, weight=lambda step: 0)
    assert one.state_access == {}
    learner, plain = learner_with(one), learner_with()
    for each in (learner, plain):
        torch.manual_seed(7)
        each.fit(2, (batches([4, 3, 5]),))
    assert same(learner.model, plain.model)
