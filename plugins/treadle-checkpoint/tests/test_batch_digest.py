import numpy
import pytest
import torch
from treadle_checkpoint.batch_digest import batch_digest

BATCH = {"x": torch.arange(4.0), "more": [numpy.arange(3), ("a", 1, None)]}


def test_equal_batches_have_one_digest():
    again = {"x": torch.arange(8.0)[:4], "more": [numpy.arange(3), ("a", 1, None)]}
    assert batch_digest(BATCH) == batch_digest(again)


@pytest.mark.parametrize(
    "other",
    [
        {**BATCH, "x": torch.arange(4)},
        {**BATCH, "x": torch.arange(4.0).reshape(2, 2)},
        {**BATCH, "x": torch.tensor([0.0, 1.0, 2.0, 4.0])},
        {**BATCH, "more": [numpy.arange(3), ("a", 2, None)]},
        {**BATCH, "more": [numpy.arange(3) + 1, ("a", 1, None)]},
        {"y": BATCH["x"], "more": BATCH["more"]},
    ],
)
def test_batches_that_differ_have_digests_that_differ(other):
    assert batch_digest(BATCH) != batch_digest(other)


@pytest.mark.parametrize("value", [object(), [1, object()], torch.eye(2).to_sparse(), numpy.array([object()])])
def test_a_value_of_an_unknown_type_has_no_digest(value):
    assert batch_digest(value) is None


@pytest.mark.parametrize(
    "tensor",
    [torch.tensor(2.0), torch.zeros(0), torch.ones(2).bfloat16(), torch.ones(2, dtype=torch.complex64).conj()],
)
def test_every_dense_tensor_has_one(tensor):
    assert batch_digest(tensor) == batch_digest(tensor.clone())
