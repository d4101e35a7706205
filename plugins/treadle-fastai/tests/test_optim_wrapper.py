"""`OptimWrapper`: layer groups, discriminative rates, true weight decay, and an optimizer like any other."""

import pytest
import torch
from torch import nn
from treadle import Learner
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_amp import MixedPrecision
from treadle_fastai import OptimWrapper, lr_range


def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Sequential(nn.Linear(4, 1))


def made(opt_func=torch.optim.Adam, lr=0.1, **options):
    return OptimWrapper.create(opt_func, lr, layers(), **options)


def test_each_layer_group_has_two_parameter_groups() -> None:
    body, head = layers()
    opt = OptimWrapper.create(torch.optim.Adam, 0.1, [body, head])
    found = [[id(parameter) for parameter in group["params"]] for group in opt.opt.param_groups]
    assert found == [
        [id(body[0].weight)],
        [id(body[0].bias), id(body[1].weight), id(body[1].bias)],
        [id(head[0].weight)],
        [id(head[0].bias)],
    ]


def test_frozen_parameters_are_left_out_and_shared_ones_are_in_once() -> None:
    layer, frozen = nn.Linear(2, 2, bias=False), nn.Linear(2, 2)
    frozen.requires_grad_(False)
    opt = OptimWrapper.create(torch.optim.SGD, 0.1, [nn.Sequential(layer, layer), nn.Sequential(layer, frozen)])
    assert [len(group["params"]) for group in opt.param_groups] == [1, 0, 0, 0]


def test_a_number_is_for_all_layer_groups_and_a_list_for_each() -> None:
    opt = made(lr=[0.1, 0.2])
    assert (opt.lr, opt.read_val("lr")) == (0.2, [0.1, 0.2])
    opt.lr = 0.5
    assert [group["lr"] for group in opt.opt.param_groups] == [0.5] * 4
    opt.lr = [0.1, 0.3]
    assert [group["lr"] for group in opt.opt.param_groups] == [0.1, 0.1, 0.3, 0.3]


def test_a_list_of_another_length_is_refused() -> None:
    with pytest.raises(
        ArgumentValueError, match=r"lr has 3 values, and there are 2 layer groups\.\nFix: pass a number"
    ):
        made().lr = [1, 2, 3]


def test_a_slice_spaces_the_rates() -> None:
    assert lr_range(slice(1e-5, 1e-3), 3) == pytest.approx([1e-5, 1e-4, 1e-3])
    assert lr_range(slice(1e-3), 3) == pytest.approx([1e-4, 1e-4, 1e-3])
    assert lr_range(slice(1e-5, 1e-3), 1) == [1e-3]
    assert made(lr=slice(1e-3)).read_val("lr") == pytest.approx([1e-4, 1e-3])
    with pytest.raises(ArgumentTypeError, match=r"are not a range\.\nFix: write slice\(start, stop\)"):
        lr_range(slice(1, 2, 3), 2)


def test_momentum_and_beta_are_what_the_optimizer_calls_otherwise() -> None:
    adam = made()
    adam.mom, adam.beta = 0.8, [0.9, 0.95]
    assert (adam.mom, adam.beta) == (0.8, 0.95)
    assert [group["betas"] for group in adam.opt.param_groups] == [(0.8, 0.9)] * 2 + [(0.8, 0.95)] * 2
    sgd = made(torch.optim.SGD)
    sgd.mom = 0.7
    sgd.beta = None
    assert (sgd.opt.param_groups[0]["momentum"], sgd.beta) == (0.7, None)
    rmsprop = made(torch.optim.RMSprop)
    rmsprop.beta = 0.6
    assert (rmsprop.opt.param_groups[3]["alpha"], rmsprop.beta) == (0.6, 0.6)


def test_what_the_optimizer_does_not_have_is_refused() -> None:
    with pytest.raises(ArgumentValueError, match=r"SGD has nothing that `beta` could set\.\nFix: leave it out"):
        made(torch.optim.SGD).beta = 0.5
    with pytest.raises(
        ArgumentValueError, match=r"Adam has no hyperparameter 'esp'\. Did you mean `eps`\?\nFix: name one"
    ):
        made().set_val("esp", 1)
    with pytest.raises(ArgumentTypeError, match=r"OptimWrapper\(opt\) must be an instance of Optimizer"):
        OptimWrapper(3)


def test_other_hyperparameters_are_set_by_their_own_names() -> None:
    opt = made()
    opt.set_stat("eps", 1e-3)
    opt.set_stat("lr", 0.3)
    assert (opt.get_stat("eps"), opt.get_stat("lr"), opt.opt.param_groups[1]["eps"]) == (1e-3, 0.3, 1e-3)


@pytest.mark.parametrize(("bn_wd", "expected"), [(True, [0.1] * 4), (False, [0.1, 0, 0.1, 0])])
def test_weight_decay_is_the_optimizers(bn_wd, expected) -> None:
    opt = made(wd=0.1, bn_wd=bn_wd)
    assert opt.wd == 0.1
    assert [group["weight_decay"] for group in opt.opt.param_groups] == expected


@pytest.mark.parametrize("true_wd", [True, False])
def test_without_bn_wd_normalisation_and_biases_have_none_also_where_it_is_the_optimizers_default(true_wd) -> None:
    opt = made(torch.optim.AdamW, wd=0.1, true_wd=true_wd, bn_wd=False)
    assert [group["weight_decay"] for group in opt.opt.param_groups] == ([0] * 4 if true_wd else [0.1, 0, 0.1, 0])


@pytest.mark.parametrize("bn_wd", [True, False])
def test_true_weight_decay_multiplies_those_with_a_gradient_before_the_step(bn_wd) -> None:
    body, head = layers()
    opt = OptimWrapper.create(torch.optim.SGD, [0.1, 0.2], [body, head], wd=[0.5, 0.25], true_wd=True, bn_wd=bn_wd)
    before = [parameter.detach().clone() for parameter in (*body.parameters(), *head.parameters())]
    for parameter in body.parameters():
        parameter.grad = torch.zeros_like(parameter)  # so that SGD itself changes nothing
    head[0].weight.grad = torch.ones_like(head[0].weight)
    opt.step()
    weight, bias, bn_weight, _, head_weight, head_bias = before
    decayed = 1 - 0.5 * 0.1
    assert torch.equal(body[0].weight, weight * decayed)
    assert torch.equal(body[0].bias, bias * decayed if bn_wd else bias)
    assert torch.equal(body[1].weight, bn_weight * decayed if bn_wd else bn_weight)
    assert torch.equal(head[0].weight, head_weight * (1 - 0.25 * 0.2) - 0.2)
    assert torch.equal(head[0].bias, head_bias)  # which has no gradient
    assert (opt.wd, opt.opt.param_groups[0]["weight_decay"]) == (0.25, 0)


def test_new_has_the_same_hyperparameters_for_other_layers() -> None:
    opt = made(lr=0.3, wd=0.1, true_wd=True, bn_wd=False)
    opt.mom = 0.5
    new = opt.new([nn.Linear(2, 2)])
    assert (new.lr, new.mom, new.beta, new.wd, new.true_wd, new.bn_wd) == (0.3, 0.5, 0.999, 0.1, True, False)
    assert len(new.param_groups) == 2


def test_clear_resets_the_state() -> None:
    layer = nn.Linear(1, 1)
    opt = OptimWrapper.create(torch.optim.Adam, 0.1, [layer])
    layer(torch.ones(1, 1)).sum().backward()
    opt.step()
    assert opt.state
    opt.clear()
    assert not opt.opt.state
    opt.zero_grad()
    assert layer.weight.grad is None


def test_its_state_is_that_of_the_optimizer_inside_with_the_weight_decay() -> None:
    opt, other = made(wd=0.1, true_wd=True), made(true_wd=True)
    other.load_state_dict(opt.state_dict())
    assert (other.wd, other.lr) == (0.1, 0.1)


@pytest.mark.parametrize("callbacks", [[], [MixedPrecision("fp16")]], ids=["alone", "beside a scaler"])
def test_a_learner_trains_with_it(callbacks) -> None:
    def trained(optimizer_of, epochs=3):
        body, head = layers()
        model = nn.Sequential(body, head)
        torch.manual_seed(1)
        data = [(torch.randn(8, 3), torch.randn(8, 1)) for _ in range(3)]
        made = [type(callback)("fp16") for callback in callbacks]
        settings = {"optimizer": optimizer_of(body, head), "callbacks": made, "use_default_callbacks": False}
        Learner(model, nn.MSELoss(), data=(data,), **settings).fit(epochs)
        return nn.utils.parameters_to_vector(model.parameters())

    ours = trained(lambda *groups: OptimWrapper.create(torch.optim.Adam, 0.01, groups, wd=0.1, true_wd=True))
    theirs = trained(lambda *groups: torch.optim.AdamW(nn.ModuleList(groups).parameters(), lr=0.01, weight_decay=0.1))
    torch.testing.assert_close(ours, theirs)
