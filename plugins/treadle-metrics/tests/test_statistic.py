import pytest
import torch
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_metrics import Mean, Smooth


def mean_of(values):
    mean = Mean()
    for value in values:
        mean.update(value)
    return mean


def test_adding_up_tensors_of_an_accelerator_does_not_wait_for_it(far):
    mean = mean_of([far(torch.tensor(float(i))) for i in range(200)]).compute()
    assert far.waits == []
    assert mean.item() == 99.5


def test_weighing_tensors_of_an_accelerator_by_rows_does_not_wait_for_it(far):
    mean = Mean()
    for i in range(200):
        mean.update(far(torch.tensor(float(i))), 1 + i % 2)
    mean = mean.compute()
    assert far.waits == []
    assert mean.item() == sum(i * (1 + i % 2) for i in range(200)) / 300


def smoothed(values, beta):
    smooth, out = Smooth(beta), []
    for value in values:
        smooth.update(value)
        out.append(smooth.compute())
    return out


def test_the_first_value_comes_out_as_it_is():
    assert smoothed([4.0], beta=0.98) == [pytest.approx(4.0, rel=1e-14)]


def test_the_reference_values_of_a_falling_loss():
    assert smoothed([4.0, 2.0, 1.0], beta=0.98) == pytest.approx([4, 2.98989899, 2.31315467], abs=5e-9)


def test_the_reference_values_of_a_rising_loss():
    assert smoothed([1.0, 2.0, 3.0, 4.0], beta=0.9) == pytest.approx([1, 1.52631579, 2.0701107, 2.63128817], abs=5e-9)


def test_without_weight_of_the_past_nothing_is_smoothed():
    assert smoothed([4.0, 2.0, 1.0], beta=0) == [4.0, 2.0, 1.0]


def test_nothing_gives_nothing_also_after_a_reset():
    smooth = Smooth()
    smooth.update(1.0)
    smooth.reset()
    assert smooth.compute() is None


def test_it_is_resumed_in_its_middle():
    first, second = Smooth(0.9), Smooth(0.9)
    first.update(1.0)
    second.load_state_dict(first.state_dict())
    second.update(2.0)
    assert second.compute() == smoothed([1.0, 2.0], beta=0.9)[1]


def test_smoothing_tensors_of_an_accelerator_does_not_wait_for_it(far):
    values = smoothed(
        [far(torch.tensor(4.0, dtype=torch.float64)), far(torch.tensor(2.0, dtype=torch.float64))], beta=0.98
    )
    assert far.waits == []
    assert values[1].item() == pytest.approx(2.98989899, abs=5e-9)


@pytest.mark.parametrize("beta", [1, 1.5, -0.1, float("nan")])
def test_a_weight_out_of_range_is_refused(beta):
    with pytest.raises(ArgumentValueError, match=r"beta must be a number of at least 0 and below 1, got "):
        Smooth(beta)


@pytest.mark.parametrize("beta", ["0.9", None, True])
def test_a_weight_that_is_not_a_number_is_refused(beta):
    with pytest.raises(
        ArgumentTypeError, match=r"beta must be a number .*, got .*\nFix: .*:\n    Smooth\(beta=0\.98\)"
    ):
        Smooth(beta)
