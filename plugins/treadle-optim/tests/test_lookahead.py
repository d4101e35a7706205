"""`Lookahead` does what the loop by hand does."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from treadle import Callback, CallbackConflictError, Write, toy_learner
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_optim import EMA, SWA, Lookahead

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parent)
    from averaged_loops import adam, batches, equal, learner_of, network


def by_hand(epochs, k, alpha, average=lambda model: None):
    """Training with slow weights, as one writes it by hand."""
    model = network()
    optimizer = adam(model.parameters())
    slow, updates = [p.detach().clone() for p in model.parameters()], 0
    for _ in range(epochs):
        for xs, ys in batches(7):
            optimizer.zero_grad()
            mse_loss(model(xs), ys).backward()
            optimizer.step()
            updates += 1
            if updates % k == 0:
                with torch.no_grad():
                    for kept, parameter in zip(slow, model.parameters(), strict=True):
                        kept.lerp_(parameter, alpha)
                        parameter.copy_(kept)
            average(model)
    return model


@pytest.mark.parametrize(("k", "alpha"), [(1, 0.5), (3, 0.5), (5, 0.8)])
def test_it_is_bit_for_bit_the_loop_by_hand(k, alpha) -> None:
    learner = learner_of(Lookahead(k, alpha))
    torch.manual_seed(0)
    network()
    learner.fit(3)
    assert equal(learner.model, by_hand(3, k, alpha))


@pytest.mark.parametrize("first", [True, False])
def test_an_average_is_of_the_weights_that_it_leaves_whatever_the_order_of_the_list(first) -> None:
    averaged = AveragedModel(network(), multi_avg_fn=get_ema_multi_avg_fn(0.5))
    averaged.update_parameters(network())
    by_hand(2, 3, 0.5, averaged.update_parameters)
    ema, lookahead = EMA(0.5), Lookahead(3)
    learner = learner_of(*((ema, lookahead) if first else (lookahead, ema)))
    torch.manual_seed(0)
    network()
    learner.fit(2)
    kept = dict(ema.model().named_parameters())
    assert all(kept[name].equal(value) for name, value in averaged.module.named_parameters())


def test_the_slow_weights_begin_with_those_that_are_there_when_training_begins() -> None:
    learner, plain = toy_learner(Lookahead(k=2, alpha=0.5), nbatches=2), toy_learner(nbatches=2)
    for one in (learner, plain):
        with torch.no_grad():
            one.model.weight.fill_(2.0)
        one.fit(1)
    assert learner.model.weight.item() == pytest.approx((2.0 + plain.model.weight.item()) / 2)


def test_it_stands_beside_swa() -> None:
    assert toy_learner(Lookahead(), SWA(1)).fit(2).epochs == 2


def test_two_of_them_are_refused_and_so_is_another_who_changes_the_weights_there() -> None:
    with pytest.raises(CallbackConflictError, match="moves the weights back towards its own"):
        toy_learner(Lookahead(), Lookahead(3))

    class Clip(Callback):
        state_access = {"model": Write}

        def on_update_end(self, learner):
            learner.model.weight.data.clamp_(max=0.25)

    with pytest.raises(CallbackConflictError, match=r"Clip(.|\n)*Lookahead(.|\n)*Fix"):
        toy_learner(Lookahead(), Clip())


def test_its_arguments_are_checked() -> None:
    for alpha in (0, 1.1):
        with pytest.raises(ArgumentValueError, match="alpha must be a number"):
            Lookahead(alpha=alpha)
    with pytest.raises(ArgumentTypeError, match="k must be a whole number"):
        Lookahead(k=2.5)
    with pytest.raises(ArgumentValueError, match="k must be a whole number of at least 1"):
        Lookahead(k=0)
    assert repr(Lookahead(3)) == "<Lookahead(k=3)>"


def test_a_model_without_shapes_is_refused_when_the_learner_is_built() -> None:
    with pytest.raises(ArgumentValueError, match=r"Lookahead begins .* and weight has no shape yet\.\nFix: show"):
        learner_of(Lookahead(), model=copy.deepcopy(nn.LazyLinear(1)))
