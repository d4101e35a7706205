import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD
from treadle import Learner
from treadle_sanity import SanityCheck, SanityCheckException


def fitted(model, optimizer, lossfn=functional.mse_loss) -> Learner:
    data = [(torch.ones(2, 1), torch.ones(2, 1))]
    learner = Learner(
        model, lossfn, data=(data, data), optimizer=optimizer, callbacks=[SanityCheck()], use_default_callbacks=False
    )
    learner.fit(1)
    return learner


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))


def test_an_optimizer_of_another_model_is_an_error_where_the_core_has_only_a_warning(log):
    other = nn.Linear(1, 1, bias=False)
    with pytest.raises(SanityCheckException) as caught:
        fitted(two_layers(), SGD(other.parameters(), lr=0.1))
    assert (
        "1. The optimizer can train the model: the optimizer holds 1 tensor, and none is one of the model's 4."
        in str(caught.value)
    )
    assert [text.partition(",")[0] for text in log] == ["No optimizer holds a parameter of the model"]


def test_parameters_that_no_optimizer_holds_are_logged_by_name(log):
    model = two_layers()
    fitted(model, SGD(model[1].parameters(), lr=0.1))
    (text,) = log
    assert "The optimizer holds all parameters: the optimizer does not hold 0.weight, 0.bias.\n" in text
    assert "freeze them:\n        parameter.requires_grad_(False)" in text


def test_after_five_names_the_rest_is_counted(log):
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(5)))
    fitted(model, SGD(model[0].parameters(), lr=0.1))
    assert "does not hold 1.weight, 1.bias, 2.weight, 2.bias, 3.weight and 3 more." in log[0]


def test_frozen_parameters_need_no_optimizer(log):
    model = two_layers()
    model[0].requires_grad_(False)
    fitted(model, SGD(model[1].parameters(), lr=0.1))
    assert log == []


def test_parameters_that_belong_to_no_model_are_logged_by_shape(log):
    model = two_layers()
    replaced = list(model[1].parameters())
    optimizer = SGD(model.parameters(), lr=0.1)
    model[1] = nn.Linear(2, 1)
    optimizer.add_param_group({"params": list(model[1].parameters())})
    assert replaced[0].shape == (1, 2)
    fitted(model, optimizer)
    assert "neither model nor loss function has one of shape (1, 2), one of shape (1,)." in log[0]


def test_a_loss_function_with_parameters_may_be_trained_too(log):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, yhats: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
            return functional.mse_loss(yhats * self.scale, ys)

    model, lossfn = two_layers(), Scaled()
    fitted(model, SGD([*model.parameters(), *lossfn.parameters()], lr=0.1), lossfn)
    assert log == []
