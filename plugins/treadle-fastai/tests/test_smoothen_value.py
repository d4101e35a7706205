"""`SmoothenValue`, by its formula."""

import pytest
from treadle.errors import ArgumentValueError
from treadle_fastai import SmoothenValue


@pytest.mark.parametrize(
    ("beta", "values", "smooth"),
    [
        (0.98, (4, 2, 1), (4, 2.98989899, 2.31315467)),
        (0.9, (1, 2, 3, 4), (1, 1.52631579, 2.0701107, 2.63128817)),
        (0, (5, 7), (5, 7)),
    ],
)
def test_it_is_the_mean_with_exponential_weights(beta, values, smooth) -> None:
    smoother = SmoothenValue(beta)
    found = []
    for value in values:
        smoother.add_value(value)
        found.append(smoother.smooth)
    assert found == pytest.approx(smooth, abs=1e-8)


def test_it_goes_on_where_it_was_saved() -> None:
    smoother, other = SmoothenValue(0.9), SmoothenValue(0.9)
    smoother.add_value(1)
    other.load_state_dict(smoother.state_dict())
    smoother.add_value(2)
    other.add_value(2)
    assert other.smooth == smoother.smooth


def test_a_beta_of_1_is_refused() -> None:
    with pytest.raises(ArgumentValueError, match=r"SmoothenValue\(beta\) must be a number of at least 0 and below 1"):
        SmoothenValue(1)
