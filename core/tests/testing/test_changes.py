import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from treadle import Callback, Learner, PropDict, toy_learner
from treadle.testing.comparison.changes import Moment


class Hoarder(Callback):
    def __init__(self) -> None:
        self.kept = {"settings": {"lr": 0.1}}


def gan() -> Learner:
    models = {"g": nn.Linear(1, 1), "d": nn.BatchNorm1d(1)}
    optimizers = {"g": torch.optim.SGD, "d": torch.optim.SGD}
    return Learner(models, nn.functional.mse_loss, optimizer=optimizers, use_default_callbacks=False)


def trained() -> Learner:
    learner = toy_learner(nbatches=1)
    learner.fit(1)
    learner.cbstate.record = PropDict(values=[1])
    return learner


def with_generator() -> Learner:
    xs = torch.ones(4, 1)
    generator = torch.Generator()
    return toy_learner(data=(DataLoader(TensorDataset(xs, xs), shuffle=True, generator=generator),))


def in_place(tensor: torch.Tensor) -> None:
    tensor.detach().add_(1)


CHANGES = {
    "a parameter": (trained, lambda learner: in_place(learner.model.weight), "`params.weight` (changed in place)"),
    "a parameter of one of several": (
        gan,
        lambda learner: in_place(learner.model.g.bias),
        "`params.g.bias` (changed in place)",
    ),
    "a new parameter": (
        toy_learner,
        lambda learner: setattr(learner.model, "weight", nn.Parameter(torch.ones(1, 1))),
        "`params.weight` (replaced)",
    ),
    "a frozen parameter": (
        trained,
        lambda learner: learner.model.requires_grad_(False),
        "`params.weight` (changed in whether it needs a gradient)",
    ),
    "a buffer": (
        gan,
        lambda learner: in_place(learner.model.d.running_mean),
        "the buffer running_mean of `model.d` (changed in place)",
    ),
    "a mode": (gan, lambda learner: learner.model.d.eval(), "a training mode in `model.d` (changed)"),
    "a gradient": (
        trained,
        lambda learner: setattr(learner.model.weight, "grad", None),
        "the gradient of `params.weight` (changed)",
    ),
    "a gradient in place": (
        trained,
        lambda learner: learner.model.weight.grad.zero_(),
        "the gradient of `params.weight` (changed in place)",
    ),
    "a setting of the optimizer": (
        trained,
        lambda learner: learner.optimizer.param_groups[0].update(lr=1.0),
        "`optimizer` (changed)",
    ),
    "a setting of one of several": (
        gan,
        lambda learner: learner.optimizer.d.param_groups[0].update(lr=1.0),
        "`optimizer.d` (changed)",
    ),
    "the loss function": (trained, lambda learner: setattr(learner, "lossfn", print), "`lossfn` (replaced)"),
    "data": (trained, lambda learner: setattr(learner.data, "training", []), "`data.training` (replaced)"),
    "inputs in place": (
        trained,
        lambda learner: setattr(learner.step, "xs", learner.step.xs.clone()),
        "`step.xs` (replaced)",
    ),
    "a tensor of the data": (
        toy_learner,
        lambda learner: in_place(learner.data.training[3][0]),
        "a tensor of `data.training` (changed in place)",
    ),
    "a hook of a module": (
        trained,
        lambda learner: learner.model.register_forward_hook(print),
        "the hooks of modules in `model` (changed)",
    ),
    "an attribute of a module": (
        gan,
        lambda learner: setattr(learner.model.d, "momentum", 0.5),
        "the attribute `momentum` of `model.d` (changed)",
    ),
    "the loss": (
        trained,
        lambda learner: setattr(learner.step, "loss", learner.step.loss.clone()),
        "`step.loss` (replaced)",
    ),
    "a new state of the step": (trained, lambda learner: setattr(learner.step, "aug", 1), "`step.aug` (added)"),
    "one state less": (trained, lambda learner: delattr(learner.step, "ys"), "`step.ys` (removed)"),
    "an entry of cbstate": (
        trained,
        lambda learner: learner.cbstate.record["values"].append(2),
        "`cbstate.record.values` (changed)",
    ),
    "Python's generator": (trained, lambda learner: random.random(), "the random generator of Python (changed)"),
    "NumPy's generator": (trained, lambda learner: np.random.rand(), "the random generator of NumPy (changed)"),
    "torch's generator": (trained, lambda learner: torch.rand(1), "the random generator of torch (changed)"),
    "a loader's generator": (
        with_generator,
        lambda learner: torch.rand(1, generator=learner.data.training.generator),
        "the random generator of the data's loaders (changed)",
    ),
}


@pytest.mark.parametrize(("make", "change", "expected"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_of_the_state_is_found_and_nothing_else(make, change, expected):
    learner = make()
    before = Moment(learner)
    assert before.changes(Moment(learner)) == []
    change(learner)
    assert [str(change) for change in before.changes(Moment(learner))] == [expected]


def test_a_layer_that_is_replaced_is_found_with_its_parameters():
    model, layer = nn.Sequential(nn.Linear(1, 1, bias=False)), nn.Linear(1, 1, bias=False)
    learner = Learner(model, nn.functional.mse_loss, use_default_callbacks=False)
    before = Moment(learner)
    model[0] = layer
    assert [str(change) for change in before.changes(Moment(learner))] == [
        "the structure of `model` (changed)",
        "`params.0.weight` (replaced)",
    ]


def test_a_buffer_that_was_changed_and_restored_is_as_it_was():
    learner = gan()
    before = Moment(learner)
    learner.model.d.running_mean.add_(1)
    learner.model.d.running_mean.sub_(1)
    assert before.changes(Moment(learner)) == []


def test_a_nested_batch_is_looked_through():
    learner = trained()
    learner.step.xs = {"image": (torch.zeros(1), "name")}
    before = Moment(learner)
    learner.step.xs["image"][0].add_(1)
    (change,) = before.changes(Moment(learner))
    assert (change.part.path, change.how) == ("step.xs", "changed in place")


def test_being_replaced_by_its_equal_counts_only_where_that_is_asked_for():
    learner = trained()
    before = Moment(learner)
    learner.step.loss = learner.step.loss.detach().clone().requires_grad_(learner.step.loss.requires_grad)
    assert len(before.changes(Moment(learner))) == 1
    assert before.changes(Moment(learner), strict=False) == []


def test_values_inside_of_values_are_compared_by_what_they_are():
    learner = toy_learner(hoarder := Hoarder())
    before = Moment(learner)
    assert before.changes(Moment(learner)) == []
    hoarder.kept["settings"]["lr"] = 0.2
    assert [change.part.what for change in before.changes(Moment(learner))] == ["the attribute `kept` of Hoarder"]


def test_settings_of_torch_count():
    learner = trained()
    before = Moment(learner)
    with torch.no_grad():
        assert [str(change) for change in before.changes(Moment(learner))] == ["torch's gradient mode (changed)"]
