import pytest
import torch
from torch import nn
from treadle.errors import MismatchError
from treadle.state.run.optimizer_state import capture, check, named_parameters, put_back


def trained(model, optimizer):
    for _ in range(2):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    return optimizer


def test_states_go_by_the_parameters_names_and_not_by_their_order():
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    saved = capture(trained(model, torch.optim.Adam([model.weight, model.bias])), named_parameters(model, None))
    turned = torch.optim.Adam([other.bias, other.weight])
    put_back(turned, saved, named_parameters(other, None))
    assert turned.state[other.weight]["exp_avg"].shape == (1, 2)
    assert [[p.shape for p in group["params"]] for group in turned.param_groups] == [[(1, 2), (1,)]]


def test_a_state_keeps_a_type_that_differs_from_its_parameters():
    model, other = nn.Linear(2, 1).bfloat16(), nn.Linear(2, 1).bfloat16()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.state[model.weight]["master"] = torch.tensor([[0.1, 0.2]])
    saved = capture(optimizer, named_parameters(model, None))
    again = torch.optim.SGD(other.parameters(), lr=0.1)
    put_back(again, saved, named_parameters(other, None))
    assert again.state[other.weight]["master"].equal(torch.tensor([[0.1, 0.2]]))


def test_a_parameter_that_is_not_there_any_more_is_named():
    model = nn.Linear(2, 1)
    saved = capture(torch.optim.SGD(model.parameters(), lr=0.1), named_parameters(model, None))
    bare = nn.Linear(2, 1, bias=False)
    with pytest.raises(
        MismatchError, match=r"The optimizer held the parameter bias, which the model does not have.\nFix: build"
    ):
        check(torch.optim.SGD(bare.parameters(), lr=0.1), saved, named_parameters(bare, None))
