import copy

import pytest
import torch
from torch import nn
from treadle.errors import ArgumentValueError
from treadle_device.successors import follow, successors


def parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    return dict(module.named_parameters())


def test_the_same_parameters_have_no_successors() -> None:
    net = nn.Linear(1, 1)
    assert successors(parameters(net), parameters(nn.Sequential(net, nn.Linear(2, 2)))) == {}


def test_parameters_of_the_same_names_follow_by_name() -> None:
    old, new = nn.Linear(1, 1), nn.Linear(1, 1)
    pairs = successors(parameters(old), {"bias": new.bias, "weight": new.weight})
    assert pairs == {old.weight: new.weight, old.bias: new.bias}


def test_parameters_of_other_names_follow_by_order() -> None:
    old, new = nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1))
    pairs = successors(parameters(old), parameters(new))
    assert pairs == {old.weight: new[0].weight, old.bias: new[0].bias}


def test_another_number_of_parameters_is_refused() -> None:
    with pytest.raises(ArgumentValueError, match="a module with 1 parameters in place of one with 2"):
        successors(parameters(nn.Linear(1, 1)), parameters(nn.Linear(1, 1, bias=False)))


def test_another_shape_is_refused() -> None:
    with pytest.raises(ArgumentValueError, match=r"weight has the shape \(1, 3\) in place of \(1, 2\)"):
        successors(parameters(nn.Linear(2, 1)), parameters(nn.Linear(3, 1)))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
        lambda p: torch.optim.AdamW(p, lr=0.1, foreach=True),
        lambda p: torch.optim.RMSprop(p, lr=0.1),
    ],
)
def test_an_optimizer_that_followed_goes_on_as_if_nothing_had_happened(make) -> None:
    torch.manual_seed(0)
    xs, ys = torch.randn(8, 2), torch.randn(8, 1)

    def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(xs), ys).backward()
            optimizer.step()

    net = nn.Linear(2, 1)
    start = copy.deepcopy(net.state_dict())
    optimizer = make(net.parameters())
    train(net, optimizer, 6)

    first = nn.Linear(2, 1)
    first.load_state_dict(start)
    follower = make(first.parameters())
    train(first, follower, 3)
    second = copy.deepcopy(first)
    follow(follower, successors(parameters(first), parameters(second)))
    train(second, follower, 3)

    assert torch.equal(second.weight, net.weight)
    assert torch.equal(second.bias, net.bias)


def test_groups_keep_their_order_and_hyperparameters() -> None:
    old, new = nn.Linear(2, 1), nn.Linear(2, 1)
    frozen = nn.Parameter(torch.ones(1))  # of something else than the model
    optimizer = torch.optim.SGD(
        [{"params": [old.bias, frozen], "lr": 0.5}, {"params": [old.weight]}], lr=0.1, momentum=0.9
    )
    follow(optimizer, successors(parameters(old), parameters(new)))
    groups = [(group["params"], group["lr"], group["momentum"]) for group in optimizer.param_groups]
    assert groups == [([new.bias, frozen], 0.5, 0.9), ([new.weight], 0.1, 0.9)]


def test_the_state_takes_the_type_of_the_parameters_and_the_count_of_steps_stays() -> None:
    net = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    net.double()
    follow(optimizer, {})
    state = optimizer.state[net.weight]
    assert (state["exp_avg"].dtype, state["step"].dtype) == (torch.float64, torch.float32)
    assert state["exp_avg"].item() == pytest.approx(0.1)
    assert state["step"].item() == 1.0
