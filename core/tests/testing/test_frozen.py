import datetime
import functools
from array import array
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from treadle import CustomCallback, PropDict, Series, StepEnd, TrainingPhase
from treadle.testing.comparison.frozen import FrozenTensor, frozen, same


@dataclass
class Point:
    x: object


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


class Cached:
    @functools.cached_property
    def answer(self) -> int:
        return 42


def push(series: Series) -> None:
    series.push(1, 0.5)


CHANGES = {
    "a list": ([1, [2]], lambda value: value[1].append(3)),
    "a dictionary": ({"a": {1: 2}}, lambda value: value["a"].update({1: 3})),
    "a set": ({1}, lambda value: value.add(2)),
    "a PropDict": (PropDict(a=1), lambda value: setattr(value, "a", 2)),
    "a tensor": ([torch.zeros(2)], lambda value: value[0].add_(1)),
    "a tensor past its version": ([torch.zeros(2)], lambda value: value[0].data.add_(1)),
    "whether a gradient is needed": ([torch.zeros(2)], lambda value: value[0].requires_grad_()),
    "an array of NumPy": (np.zeros(2), lambda value: value.fill(1)),
    "an array of Python": (array("d", [0.0]), lambda value: value.append(1.0)),
    "an object": (Point(1), lambda value: setattr(value, "x", 2)),
    "an object in an object": (Point(Point(1)), lambda value: setattr(value.x, "x", 2)),
    "an object with slots": (Slotted(1), lambda value: setattr(value, "value", 2)),
    "a series": (Series(), push),
    "a module": (nn.Linear(1, 1), lambda value: value.weight.data.add_(1)),
    "a module's mode": (nn.Dropout(), lambda value: value.eval()),
    "a generator": (torch.Generator(), lambda value: torch.rand(1, generator=value)),
}


@pytest.mark.parametrize(("value", "change"), CHANGES.values(), ids=CHANGES.keys())
def test_a_change_shows(value, change):
    before = frozen(value)
    assert same(before, frozen(value))
    change(value)
    assert not same(before, frozen(value))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, float("nan")])),
        (float("nan"), float("nan")),
        ([1, 2], [1, 2]),
        (Point([1]), Point([1])),
        (TrainingPhase(), TrainingPhase()),
        (datetime.date(2026, 1, 1), datetime.date(2026, 1, 1)),
        (nn.Linear, nn.Linear),
        (CustomCallback(print, StepEnd), CustomCallback(print, StepEnd)),
    ],
)
def test_what_is_alike_is_the_same(one, other):
    assert same(frozen(one), frozen(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.5),
        (1, True),
        ([1], (1,)),
        ({"a": 1}, {"b": 1}),
        (torch.zeros(2), torch.zeros(3)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.tensor([float("nan"), 0.0]), torch.tensor([0.0, float("nan")])),
        (datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)),
        (nn.Linear, nn.ReLU),
    ],
)
def test_what_differs_is_not(one, other):
    assert not same(frozen(one), frozen(other))


def test_what_is_held_twice_and_what_holds_itself_can_be_frozen():
    shared: list[object] = [1]
    shared.append(shared)
    assert same(frozen([shared, shared]), frozen([shared, shared]))


def test_cached_properties_are_not_part_of_an_object():
    cached = Cached()
    before = frozen(cached)
    assert cached.answer == 42
    assert same(before, frozen(cached))


def test_a_tensor_tells_how_it_was_changed():
    tensor = torch.zeros(2)
    before = FrozenTensor(tensor)
    assert before.change(FrozenTensor(tensor)) is None
    assert before.change(FrozenTensor(tensor.clone())) == "replaced"
    tensor.mul_(1)
    assert before.change(FrozenTensor(tensor)) == "changed in place"
    before = FrozenTensor(tensor)
    tensor.requires_grad_()
    assert before.change(FrozenTensor(tensor)) == "changed in whether it needs a gradient"


def test_a_tensor_of_inference_mode_has_no_version_and_is_compared_by_its_content():
    with torch.inference_mode():
        tensor = torch.zeros(2)
        before = FrozenTensor(tensor)
        tensor.add_(1)
        assert before.change(FrozenTensor(tensor)) == "changed in place"


def test_a_parameter_without_a_shape_can_be_frozen():
    parameter = nn.LazyLinear(1).weight
    assert FrozenTensor(parameter).change(FrozenTensor(parameter)) is None
