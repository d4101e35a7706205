import math

import torch
from torch import nn
from treadle_stopping.best import Best


def test_only_a_lower_finite_value_improves():
    best = Best()
    values = [math.nan, 2.0, 2.0, -math.inf, math.inf, 1.0, math.nan, 1.5]
    assert [best.improves(value) for value in values] == [
        False,
        True,
        False,
        False,
        False,
        True,
        False,
        False,
    ]
    assert best.value == 1.0


def test_the_copy_is_independent_of_the_model_and_put_back_in_place():
    model, best = nn.BatchNorm1d(2), Best()
    weight = model.weight
    best.keep(model)
    model(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        weight += 1
    best.restore(model)
    assert model.weight is weight
    assert weight.tolist() == [1.0, 1.0]
    assert (model.running_mean.tolist(), model.num_batches_tracked.item()) == ([0.0, 0.0], 0)


def test_a_mapping_of_models_is_copied_whole():
    models, best = {"first": nn.Linear(1, 1), "second": nn.Linear(1, 1)}, Best()
    before = [parameter.clone() for model in models.values() for parameter in model.parameters()]
    best.keep(models)
    for model in models.values():
        nn.init.constant_(model.weight, 7.0)
    best.restore(models)
    after = [parameter for model in models.values() for parameter in model.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_without_a_copy_nothing_is_restored():
    model, best = nn.Linear(1, 1), Best()
    nn.init.constant_(model.weight, 7.0)
    best.keep(model)
    best.drop()
    nn.init.constant_(model.weight, 8.0)
    best.restore(model)
    assert model.weight.item() == 8.0
