"""`OptimizerModes`: an optimizer with modes of its own trains and validates as its author means it."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import mse_loss
from treadle import CallbackConflictError, toy_learner
from treadle.errors import ArgumentTypeError
from treadle_optim import EMA, OptimizerModes

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parent)
    from averaged_loops import Losses, batches, equal, learner_of, network


class ScheduleFree(torch.optim.Optimizer):
    """SGD without a schedule: gradients are taken at y, between the average x, for validation, and the iterate z."""

    def __init__(self, params, lr=0.05, beta=0.9):
        super().__init__(params, {"lr": lr, "beta": beta, "k": 0, "training": False})

    @torch.no_grad()
    def move(self, *, training):
        for group in self.param_groups:
            weight = 1 - group["beta"] if training else 1 - 1 / group["beta"]
            if group["training"] != training:
                for p in group["params"]:
                    if "z" in self.state[p]:
                        p.lerp_(self.state[p]["z"], weight)
            group["training"] = training

    def train(self):
        self.move(training=True)

    def eval(self):
        self.move(training=False)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            assert group["training"], "train() was not called"
            group["k"] += 1
            for p in group["params"]:
                z = self.state[p].setdefault("z", p.clone())
                p.lerp_(z, 1 - 1 / group["beta"])  # y -> x
                z.sub_(p.grad, alpha=group["lr"])
                p.lerp_(z, 1 / group["k"])
                p.lerp_(z, 1 - group["beta"])  # x -> y


def by_hand(epochs):
    model = network()
    optimizer, losses = ScheduleFree(model.parameters()), []
    for _ in range(epochs):
        model.train()
        optimizer.train()
        for xs, ys in batches(7):
            optimizer.zero_grad()
            mse_loss(model(xs), ys).backward()
            optimizer.step()
        trained = [p.detach().clone() for p in model.parameters()]  # eval() and train() round
        model.eval()
        optimizer.eval()
        with torch.no_grad():
            losses += [mse_loss(model(xs), ys).item() for xs, ys in batches(3, seed=2)]
            optimizer.train()
            for p, kept in zip(model.parameters(), trained, strict=True):
                p.copy_(kept)
    return model, optimizer, losses


def test_it_is_bit_for_bit_the_loop_by_hand() -> None:
    model, optimizer, expected = by_hand(3)
    modes, losses = OptimizerModes(), Losses()
    learner = learner_of(modes, losses, optimizer=ScheduleFree)
    torch.manual_seed(0)
    network()
    learner.fit(3)
    assert losses.values == expected
    assert equal(learner.model, model)
    optimizer.eval()
    assert equal(modes.model(), model)


def test_an_optimizer_without_modes_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"needs an optimizer .* learner has SGD\.\nFix: leave it out"):
        toy_learner(OptimizerModes())


def test_beside_an_average_it_is_refused() -> None:
    with pytest.raises(CallbackConflictError, match="Validation runs with the averages of one of them"):
        learner_of(OptimizerModes(), EMA(), optimizer=ScheduleFree)
