import pytest
import torch
from treadle_metrics import Mean
from treadle_metrics.mean import BLOCK


def mean_of(values):
    mean = Mean()
    for value in values:
        mean.update(value)
    return mean


def test_the_mean_of_nothing_is_nothing():
    assert Mean().compute() is None


def test_the_mean_of_numbers_is_a_number():
    assert mean_of([1.0, 2.0, 6]).compute() == 3.0


def test_a_reset_forgets_all():
    mean = mean_of([1.0, 2.0])
    mean.reset()
    assert mean.compute() is None


def test_the_mean_of_tensors_is_a_tensor_of_double_precision():
    mean = mean_of([torch.tensor(1.0), torch.tensor([2.0])]).compute()
    assert torch.equal(mean, torch.tensor(1.5, dtype=torch.float64))


@pytest.mark.parametrize("n", [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_blocks_of_tensors_add_up(n):
    assert mean_of([torch.tensor(float(i)) for i in range(n)]).compute() == (n - 1) / 2


def test_no_more_tensors_are_kept_than_a_block():
    assert len(mean_of([torch.tensor(1.0)] * (3 * BLOCK + 5)).state_dict()["waiting"]) == 5


@pytest.mark.parametrize("make", [float, torch.tensor])
def test_a_mean_resumed_in_its_middle_is_bit_equal(make):
    values = [make(0.1 * i) for i in range(100)]
    resumed = Mean()
    resumed.load_state_dict(mean_of(values[:70]).state_dict())
    for value in values[70:]:
        resumed.update(value)
    assert resumed.compute() == mean_of(values).compute()


def test_tensors_of_an_accelerator_are_not_waited_for(far):
    mean = mean_of([far(torch.tensor(float(i))) for i in range(200)]).compute()
    assert far.waits == []
    assert mean.item() == 99.5
