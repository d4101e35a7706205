import warnings
from collections import namedtuple

import pytest
import torch
from treadle import PropDict
from treadle.arguments import batch_weight
from treadle.errors import ArgumentTypeError, ArgumentValueError

EXAMPLE = 'Metric(fn, weight="rows")'
with warnings.catch_warnings(action="ignore"):  # torch calls them a prototype
    RAGGED = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
Pair = namedtuple("Pair", ["first", "second"])


def weigh(weight, **step):
    function = batch_weight(weight, "Metric(weight)", EXAMPLE)
    return None if function is None else function(PropDict(**step))


INPUTS = {
    "a tensor": (torch.ones(8, 3), 8),
    "no rows": (torch.ones(0, 3), 0),
    "a tuple": ((torch.ones(5, 3), torch.ones(7)), 5),
    "a named tuple": (Pair(torch.ones(5, 3), torch.ones(7)), 5),
    "a mapping": ({"ids": torch.ones(4, 9), "mask": torch.ones(2)}, 4),
    "a nested one": ({"text": ["a", "b"], "images": [torch.ones(6, 1)]}, 6),
    "a number before it": ((torch.tensor(0.5), torch.ones(3, 2)), 3),
    "a subclass of tensors": (torch.nn.Parameter(torch.ones(2, 2)), 2),
    "sequences of several lengths": (RAGGED, 2),
    "a number alone": (torch.tensor(0.5), None),
    "no tensor": (["a", "b"], None),
    "nothing": (None, None),
}


@pytest.mark.parametrize("name", INPUTS)
def test_rows_are_the_length_of_the_first_tensor_of_the_inputs(name) -> None:
    xs, rows = INPUTS[name]
    assert weigh("rows", xs=xs, ys=torch.ones(99)) == rows


def test_a_step_without_inputs_has_no_rows_and_one_with_them_has_afterwards() -> None:
    rows = batch_weight("rows", "Metric(weight)", EXAMPLE)
    assert [rows(PropDict(**step)) for step in ({}, {}, {"xs": torch.ones(3)}, {})] == [None, None, 3, None]


def test_without_a_weight_there_is_no_function() -> None:
    assert batch_weight(None, "Metric(weight)", EXAMPLE) is None


def test_a_function_says_what_a_batch_weighs() -> None:
    assert weigh(lambda step: (step.ys >= 0).sum(), ys=torch.tensor([1, -1, 0])) == 2.0
    assert weigh(lambda step: len(step.ys) / 2, ys=[1, 2, 3]) == 1.5


BAD_WEIGHTS = {
    "negative": (-1, ArgumentValueError, "must be a finite number of at least 0, got -1"),
    "NaN": (torch.tensor(torch.nan), ArgumentValueError, "must be a finite number of at least 0"),
    "infinite": (float("inf"), ArgumentValueError, "must be a finite number of at least 0, got inf"),
    "a text": ("rows", ArgumentTypeError, "must be a finite number of at least 0, got 'rows'"),
    "None": (None, ArgumentTypeError, "must be a finite number of at least 0, got None"),
    "several": (torch.ones(2, 2), ArgumentTypeError, r"must be a number, got a tensor of shape \(2, 2\), float32"),
    "complex": (torch.tensor(1j), ArgumentTypeError, r"must be a number, got a tensor of shape \(\), complex64"),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_a_weight_that_cannot_be_used_is_refused_in_the_step(name) -> None:
    weight, error, match = BAD_WEIGHTS[name]
    with pytest.raises(error, match=rf"The weight of a batch {match}.*\nFix: "):
        weigh(lambda step: weight)


BAD = {
    "a word": ("tokens", ArgumentValueError, r"Metric\(weight\) has an invalid value: 'tokens'"),
    "a number": (3, ArgumentTypeError, r"Metric\(weight\) must be a function, got 3"),
    "no argument": (lambda: 1, ArgumentTypeError, r"Metric\(weight\) is called with \(step\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_argument_that_is_no_weight_is_refused(name) -> None:
    weight, error, match = BAD[name]
    with pytest.raises(error, match=rf"^{match}.*\nFix: "):
        batch_weight(weight, "Metric(weight)", EXAMPLE)
