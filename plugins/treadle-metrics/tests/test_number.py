from fractions import Fraction

import numpy as np
import pytest
import torch
from treadle_metrics import MetricError
from treadle_metrics.number import number


@pytest.mark.parametrize("value", [0.5, Fraction(1, 2), np.float32(0.5), torch.tensor(0.5), torch.tensor([[0.5]])])
def test_a_number_comes_as_a_float(value):
    result = number(value, "Error")
    assert (result, type(result)) == (0.5, float)


def test_a_tensor_of_an_accelerator_comes_detached(far):
    value = far(torch.tensor(0.5))
    assert isinstance(number(value, "Error"), far)
    assert far.waits == []


@pytest.mark.parametrize(
    ("value", "told"), [(torch.ones(3), r"a tensor of shape \(3,\)"), (None, "a NoneType"), ({"a": 1}, "a dict")]
)
def test_anything_else_is_refused_by_the_metrics_name(value, told):
    with pytest.raises(MetricError, match=f"'Error' gave {told}, and one number is recorded"):
        number(value, "Error")
