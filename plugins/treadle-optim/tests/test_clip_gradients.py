"""`ClipGradients`: what the loop by hand does between the gradients and the optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from treadle import (
    AbstractTrainingPhase,
    Callback,
    CallbackConflictError,
    CallbackError,
    CustomCallback,
    Learner,
    Read,
    TrainingPhase,
    UpdateBegin,
    UpdateEnd,
    Write,
    callback_graph,
    run_step,
    run_update,
    toy_learner,
)
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle.operations import Backward, Forward, Loss, Update
from treadle_optim import Accumulate, CentraliseGradients, ClipGradients

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def network() -> nn.Module:
    torch.manual_seed(0)
    parts = [nn.Conv1d(2, 3, 2), nn.Flatten(), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 1)]
    return nn.Sequential(*parts)


def batches(count: int) -> Batches:
    generator = torch.Generator().manual_seed(1)
    inputs = [torch.randn(4, 2, 3, generator=generator) for _ in range(count)]
    return [(xs, 9 * xs.sum((1, 2)).unsqueeze(1)) for xs in inputs]


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9)


def learner_with(*callbacks: Callback, **options: Any) -> Learner:
    options = {"optimizer": sgd, "model": network(), **options}
    return Learner(options.pop("model"), nn.MSELoss(), callbacks=callbacks, use_default_callbacks=False, **options)


def by_hand(clip: Callable[[nn.Module], object], n: int, data: Batches) -> nn.Module:
    """Two epochs of updates by `n` batches, with a clip."""
    model, lossfn = network(), nn.MSELoss()
    optimizer = sgd(model.parameters())
    torch.manual_seed(7)
    for _ in range(2):
        optimizer.zero_grad()
        k = 0
        for i, (xs, ys) in enumerate(data, 1):
            (lossfn(model(xs), ys) / n).backward()
            k += 1
            if k == n or i == len(data):
                if k < n:
                    for parameter in model.parameters():
                        parameter.grad *= n / k
                clip(model)
                optimizer.step()
                optimizer.zero_grad()
                k = 0
    return model


def same(first: nn.Module, second: nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def adaptively(model: nn.Module, clipping: float) -> None:
    """Equation 3 of the paper, unit by unit."""
    for parameter in model.parameters():
        for index in [...] if parameter.ndim < 2 else range(len(parameter)):
            weight, gradient = parameter.data[index], parameter.grad[index]
            limit = clipping * max(torch.linalg.vector_norm(weight), torch.tensor(1e-3))
            norm = torch.linalg.vector_norm(gradient)
            if norm > limit:
                gradient *= limit / norm


CLIPS = {
    "norm": lambda model, limit: nn.utils.clip_grad_norm_(model.parameters(), limit),
    "value": lambda model, limit: nn.utils.clip_grad_value_(model.parameters(), limit),
}


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(sorted(CLIPS)), st.sampled_from([0.01, 1.0, 5.0, 1000.0]), st.integers(1, 4), st.integers(1, 7))
def test_it_clips_whole_gradients_as_torch_does(how, limit, n, count) -> None:
    data = batches(count)
    learner = learner_with(ClipGradients(**{how: limit}), Accumulate(n))
    torch.manual_seed(7)
    learner.fit(2, (data,))
    assert same(learner.model, by_hand(lambda model: CLIPS[how](model, limit), n, data))


@settings(deadline=None, max_examples=15)
@given(st.sampled_from([0.001, 0.1, 10.0]), st.integers(1, 3), st.integers(1, 5))
def test_it_clips_each_unit_by_the_norm_of_its_weights(limit, n, count) -> None:
    data = batches(count)
    learner = learner_with(ClipGradients(agc=limit), Accumulate(n))
    torch.manual_seed(7)
    learner.fit(2, (data,))
    model = by_hand(lambda model: adaptively(model, limit), n, data)
    for name, value in model.state_dict().items():
        assert torch.allclose(learner.model.state_dict()[name], value, rtol=0, atol=1e-5), name


def test_units_whose_weights_are_zero_can_grow() -> None:
    model = nn.Linear(1, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    plain = torch.optim.SGD(model.parameters(), lr=1.0)
    data = [(torch.ones(1, 1), torch.full((1, 1), 9.0))]
    learner_with(ClipGradients(agc=0.5), model=model, optimizer=plain).fit(1, (data,))
    assert model.weight.item() == model.bias.item() == pytest.approx(0.5e-3)


@pytest.mark.parametrize("how", ["norm", "value", "agc"])
def test_gradients_that_are_not_finite_stay_so(how) -> None:
    """Whoever skips or refuses such updates still sees them."""
    learner = toy_learner(ClipGradients(**{how: 1.0}), nbatches=1)
    xs, ys = learner.data.training[0]
    learner.fit(1, ([(xs * torch.nan, ys)],))
    assert math.isnan(learner.grads["weight"].item())


def test_each_of_several_models_is_clipped_on_its_own() -> None:
    class Both(AbstractTrainingPhase):
        def step(self, learner: Any, batch: Any) -> None:
            with run_step(learner, self, xs=batch[0], ys=batch[1]) as (_, state):
                for name, factor in (("one", 100.0), ("other", 1.0)):
                    state.loss = factor * learner.model[name](batch[0]).sum()
                    run_update(learner, self, models=name)

    norms = []
    access = {"step.grads": Read}

    def look(learner: Any) -> None:
        (gradients,) = learner.step.grads.values()
        norms.append(gradients["weight"].norm().item())

    torch.manual_seed(0)
    models = {"one": nn.Linear(3, 1, bias=False), "other": nn.Linear(3, 1, bias=False)}
    show = CustomCallback(look, UpdateEnd, state_access=access)
    learner = learner_with(ClipGradients(norm=2.0), show, model=models, optimizer={"one": sgd, "other": sgd})
    learner.fit(1, ([(torch.full((1, 3), 0.5), torch.ones(1, 1))],), phases=[Both()])
    assert norms == [pytest.approx(2.0, abs=1e-5), pytest.approx(math.sqrt(0.75))]


def test_parameters_that_only_an_optimizer_holds_are_clipped_as_well() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, yhats: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
            return ((self.scale * yhats - ys) ** 2).mean()

    model, lossfn = network(), Scaled()
    optimizer = torch.optim.SGD([*model.parameters(), *lossfn.parameters()], lr=0.1)
    callbacks = [ClipGradients(value=0.125)]
    Learner(model, lossfn, optimizer=optimizer, callbacks=callbacks, use_default_callbacks=False).fit(1, (batches(1),))
    assert abs(lossfn.scale.grad.item()) == 0.125


def test_a_phase_without_an_update_is_refused() -> None:
    class ByHand(AbstractTrainingPhase):
        def step(self, learner: Any, batch: Any) -> None:
            with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
                state.yhats = handle(Forward)
                state.loss = handle(Loss)
                handle(Backward)
                state.grads = learner.grads
                handle(Update)

    for guard in (ClipGradients(norm=1.0), CentraliseGradients()):
        match = rf"^{guard.name} is a guard and handles `on_update_begin`, (?s:.*)run_update\(learner, self\)"
        with pytest.raises(CallbackError, match=match):
            toy_learner(guard).fit(1, phases=[ByHand()])


def test_it_comes_after_what_centralises() -> None:
    clip, centralise = ClipGradients(norm=1.0), CentraliseGradients()
    assert callback_graph([clip, centralise]).has_edge(centralise, clip)


def test_another_clip_that_names_nobody_is_refused_until_the_user_orders_the_two() -> None:
    def halve(learner: Any) -> None:
        learner.step.grads["weight"].mul_(0.5)

    another = CustomCallback(halve, UpdateBegin, TrainingPhase, {"step.grads": Write})
    with pytest.raises(CallbackConflictError, match=r"both write `step\.grads`, and nothing orders them"):
        toy_learner(ClipGradients(norm=1.0), another)
    seen = []
    for answer in ("first", "second"):
        resolve = {("ClipGradients", "CustomCallback"): answer}
        learner = toy_learner(ClipGradients(norm=1.0), another, resolve=resolve, nbatches=1)
        learner.fit(1)
        seen.append(learner.grads["weight"].item())
    assert seen == pytest.approx([-0.5, -1.0])


# Arguments.

BAD_ARGUMENTS = {
    "nothing": ((), {}, ArgumentValueError, "takes exactly one of norm, value and agc, got none of them"),
    "two": ((), {"norm": 1, "agc": 0.1}, ArgumentValueError, "takes exactly one of .*, got norm and agc"),
    "three": ((1, 2, 3), {}, ArgumentValueError, "takes exactly one of .*, got norm and value and agc"),
    "norm=0": ((0,), {}, ArgumentValueError, r"ClipGradients\(norm\) must be a finite number above 0, got 0"),
    "norm=-1": ((-1,), {}, ArgumentValueError, r"ClipGradients\(norm\) must be a finite number above 0, got -1"),
    "norm=inf": ((math.inf,), {}, ArgumentValueError, r"ClipGradients\(norm\) must be a finite number above 0"),
    "value=nan": ((), {"value": math.nan}, ArgumentValueError, r"ClipGradients\(value\) must be a finite number"),
    "agc='1'": ((), {"agc": "1"}, ArgumentTypeError, r"ClipGradients\(agc\) must be a finite number above 0, got '1'"),
    "norm=True": ((True,), {}, ArgumentTypeError, r"ClipGradients\(norm\) must be a finite number above 0, got True"),
}


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_a_bad_argument_is_a_typed_error_with_a_fix(name) -> None:
    arguments, options, error, match = BAD_ARGUMENTS[name]
    with pytest.raises(error, match=rf"{match}.*\nFix: "):
        ClipGradients(*arguments, **options)


def test_it_is_shown_with_its_arguments() -> None:
    assert repr(ClipGradients(norm=1)) == "<ClipGradients(norm=1.0)>"
    assert repr(ClipGradients(agc=0.01)) == "<ClipGradients(agc=0.01)>"


# Gradients that torch cannot clip.


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(10, 4, sparse=True), nn.Linear(4, 1)

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(xs).mean(1))


@pytest.mark.parametrize(
    "callback", [ClipGradients(norm=1), ClipGradients(value=1), ClipGradients(agc=1), CentraliseGradients()], ids=repr
)
def test_sparse_gradients_are_refused_before_the_update(callback) -> None:
    data = ([(torch.randint(0, 10, (4, 3)), torch.rand(4, 1))],)
    learner = Learner(Bag(), nn.MSELoss(), data=data, callbacks=[callback])
    with pytest.raises(CallbackError, match=r"takes gradients that are not sparse, .*\nFix: build it without them:"):
        learner.fit(1)
    assert learner.progress.updates == 0


class Wave(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 1, dtype=torch.complex64))

    def forward(self, xs: torch.Tensor) -> torch.Tensor:
        return (xs.to(torch.complex64) @ self.weight).abs()


def test_complex_gradients_have_a_norm_and_are_not_clipped_by_value() -> None:
    data = ([(torch.rand(4, 3), torch.zeros(4, 1))],)
    learner = Learner(Wave(), nn.MSELoss(), data=data, callbacks=[ClipGradients(norm=0.1)])
    learner.fit(1)
    assert torch.linalg.vector_norm(learner.step.grads["weight"]).item() == pytest.approx(0.1)
    learner = Learner(Wave(), nn.MSELoss(), data=data, callbacks=[ClipGradients(value=0.1)])
    with pytest.raises(CallbackError, match=r"takes gradients of real numbers, .*\nFix: use its real and imaginary"):
        learner.fit(1)
