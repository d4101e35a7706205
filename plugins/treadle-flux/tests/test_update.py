"""One step of an optimizer by gradients that are passed."""

import pytest
import torch
from torch import nn
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_flux import params, update


def model_and_grads() -> tuple[nn.Linear, tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    return model, torch.autograd.grad(model(torch.ones(1, 2)).square().sum(), tuple(model.parameters()))


def test_it_is_a_step_by_the_gradients_that_are_passed() -> None:
    model, grads = model_and_grads()
    other, _ = model_and_grads()
    other(torch.ones(1, 2)).square().sum().backward()
    torch.optim.Adam(other.parameters()).step()
    update(torch.optim.Adam(model.parameters()), params(model), grads)
    assert [p.tolist() for p in model.parameters()] == [p.tolist() for p in other.parameters()]


def test_the_state_of_the_optimizer_goes_on() -> None:
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.5)
    for _ in range(2):
        update(optimizer, weight, torch.ones(1))
    assert weight.item() == -2.5


def test_a_mapping_gives_gradients_by_parameter() -> None:
    model, grads = model_and_grads()
    bias = model.bias.tolist()
    update(torch.optim.SGD(model.parameters(), lr=0.1), params(model), {model.weight: grads[0]})
    assert model.bias.tolist() == bias


def test_others_stay_as_they_are_and_so_do_all_gradients() -> None:
    model, grads = model_and_grads()
    model.weight.grad = torch.full_like(model.weight, 7)
    model.bias.grad = torch.full_like(model.bias, 8)
    weight = model.weight.tolist()
    update(torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.5), [model.bias], [grads[1]])
    assert model.weight.tolist() == weight
    assert (model.weight.grad.unique().tolist(), model.bias.grad.tolist()) == ([7], [8])


def test_gradients_are_put_back_when_the_optimizer_fails() -> None:
    class Broken(torch.optim.SGD):
        def step(self, closure=None):
            raise KeyError("x")

    weight = torch.zeros(1, requires_grad=True)
    with pytest.raises(KeyError):
        update(Broken([weight], lr=0.1), weight, torch.ones(1))
    assert weight.grad is None


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"optimizer": torch.optim.SGD}, ArgumentTypeError, "must be an instance"),
        ({"parameters": nn.Linear(2, 1)}, ArgumentValueError, "does not hold 2 of the parameters"),
        ({"grads": [None]}, ArgumentValueError, "There are 1 gradients for 2 parameters.\nFix: pass one for each"),
        (
            {"grads": [torch.ones(3), None]},
            ArgumentValueError,
            r"of parameter 0, of shape \(1, 2\), is one of shape \(3,",
        ),
        ({"grads": [None, 0.5]}, ArgumentValueError, r"of parameter 1, of shape \(1,\), is 0.5"),
    ],
)
def test_gradients_that_do_not_belong_to_the_parameters_are_refused(change, error, message: str) -> None:
    model, grads = model_and_grads()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(error, match=message):
        update(**{"optimizer": optimizer, "parameters": params(model), "grads": grads, **change})
