"""The collection of parameters: what is in it, and that it refers to the models' own."""

import operator
from collections import namedtuple

import pytest
import torch
from torch import nn
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_flux import Params, params

np = pytest.importorskip("numpy")


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, requires_grad=True)


def test_it_refers_to_the_parameters_of_a_model() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Softmax(dim=0))
    found = params(model)
    assert (found[0] is model[0].weight, found[1] is model[0].bias, len(found)) == (True, True, 2)


def test_only_what_is_trained_is_in_it() -> None:
    norm = nn.BatchNorm1d(2)
    norm.bias.requires_grad_(requires_grad=False)
    assert list(params(norm)) == [norm.weight]


def test_each_parameter_is_in_it_once_at_its_first_place() -> None:
    model, weight = nn.Linear(1, 1), tensor(1)
    assert [id(p) for p in params(weight, model, [model.weight, weight], params(model))] == [
        id(p) for p in (weight, model.weight, model.bias)
    ]


def test_containers_are_looked_into_and_other_values_passed_over() -> None:
    part = namedtuple("part", "alpha beta gamma")
    first, second, third = tensor(1), tensor(2), tensor(3)
    found = params(1, "text", None, torch.relu, [[first], {"x": (second,)}], part(third, 4.0, torch.sin))
    assert list(map(id, found)) == [id(first), id(second), id(third)]


def test_an_object_says_by_a_method_what_is_trained() -> None:
    class Affine:
        def __init__(self) -> None:
            self.weight, self.bias = tensor(1), tensor(2)

        def parameters(self) -> list[torch.Tensor]:
            return [self.weight]

    affine = Affine()
    assert list(params(affine)) == [affine.weight]


def test_a_generator_of_parameters_is_enough() -> None:
    model = nn.Linear(1, 1)
    assert params(model.parameters()) == params(model)


def test_in_looks_for_the_tensor_itself() -> None:
    weight, equal = tensor(1), tensor(1)
    assert (weight in params(weight), equal in params(weight)) == (True, False)


def test_collections_are_joined_and_left_out_of_each_other() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    first, second = params(model[0]), params(model[1])
    assert first + second == params(model)
    assert params(model) - second == first
    assert (first + second).modules == (model[0], model[1])
    assert first != second
    assert first != [*first]


def test_torch_takes_gradients_for_it() -> None:
    model = nn.Linear(2, 1)
    grads = torch.autograd.grad(model(torch.ones(1, 2)).sum(), tuple(params(model)))
    assert [grad.tolist() for grad in grads] == [[[1.0, 1.0]], [1.0]]


def test_it_shows_the_shapes() -> None:
    assert repr(params(nn.Linear(3, 2))) == "Params((2, 3), (2,))"


def test_only_collections_are_joined() -> None:
    with pytest.raises(TypeError):
        operator.add(params(), [tensor(1)])
    with pytest.raises(TypeError):
        operator.sub(params(), [tensor(1)])
    assert isinstance(params(), Params)


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        (torch.ones(2), ArgumentValueError, r"shape \(2,\) that needs no gradient.\nFix: leave it out, or let it"),
        (2 * tensor(1), ArgumentValueError, r"shape \(1,\) that was computed from others"),
        (np.ones(2), ArgumentTypeError, r"params got a ndarray.*\nFix: make a tensor.*\n    torch.from_numpy"),
        (object(), ArgumentTypeError, r"params got a object, which has no parameters.\nFix: pass models or tensors"),
    ],
)
def test_what_cannot_be_trained_is_refused(part, error, message: str) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        params([part])
