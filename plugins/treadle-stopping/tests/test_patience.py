import math

import pytest
from treadle import ArgumentTypeError, ArgumentValueError
from treadle_stopping import UP, EarlyStopper, NumberSinceBest, Patience, stopping_time

LOSSES = [10.0, 8.0, 9.0, 10.0, 11.0, 12.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0, 16.0]


@pytest.mark.parametrize(("n", "time"), [(1, 3), (2, 4), (3, 5), (4, 6), (5, 12), (6, 0)])
def test_patience_stops_at_the_nth_rise_in_a_row(n, time):
    assert stopping_time(Patience(n), LOSSES) == time


def test_patience_compares_with_the_loss_before_not_with_the_best():
    assert stopping_time(Patience(2), [1.0, 9.0, 8.0, 9.0, 8.0, 9.0]) == 0


def test_an_equal_loss_or_a_nan_resets_patience():
    assert stopping_time(Patience(2), [1.0, 2.0, 2.0, 3.0, math.nan, 4.0, 5.0, 6.0]) == 8


def test_patience_says_how_often_the_loss_rose():
    stopper = EarlyStopper(Patience(2))
    assert [stopper.done(loss) for loss in (1.0, 2.0, 3.5)] == [False, False, True]
    assert stopper.message == "Stopped early by Patience(n=2): the loss has risen 2 times in a row, to 3.5."


def test_up_is_another_name_of_patience():
    assert UP(3) == Patience(3)
    assert UP() == Patience(5)


@pytest.mark.parametrize(("n", "time"), [(1, 3), (2, 4), (3, 5), (4, 6), (5, 7), (6, 8)])
def test_number_since_best_stops_n_losses_after_the_best(n, time):
    assert stopping_time(NumberSinceBest(n), LOSSES) == time


@pytest.mark.parametrize(("n", "time"), [(2, 5), (3, 9)])
def test_a_new_best_resets_number_since_best(n, time):
    assert stopping_time(NumberSinceBest(n), [10.0, 9.0, 8.0, 9.0, 10.0, 7.0, 10.0, 10.0, 10.0, 10.0]) == time


def test_a_tie_is_not_a_new_best():
    assert stopping_time(NumberSinceBest(3), [5.0, 5.0, 5.0, 5.0]) == 4


def test_a_nan_first_loss_is_never_beaten():
    assert stopping_time(NumberSinceBest(3), [math.nan, 3.0, 2.0, 1.0]) == 4


def test_a_later_nan_is_not_a_new_best():
    assert stopping_time(NumberSinceBest(2), [3.0, math.nan, 2.0, math.nan, math.nan]) == 5


def test_number_since_best_says_the_best():
    stopper = EarlyStopper(NumberSinceBest(1))
    assert [stopper.done(loss) for loss in (0.25, 0.5)] == [False, True]
    assert stopper.message == "Stopped early by NumberSinceBest(n=1): the best loss, 0.25, was 1 loss ago."
    assert not stopper.done(0.125)
    assert stopper.message == ""


@pytest.mark.parametrize("criterion", [Patience, NumberSinceBest])
def test_the_number_is_a_whole_one_of_at_least_one(criterion):
    with pytest.raises(
        ArgumentValueError, match=rf"{criterion.__name__}\(n\) must be a whole number of at least 1, got 0"
    ):
        criterion(0)
    with pytest.raises(
        ArgumentTypeError, match=rf"{criterion.__name__}\(n\) must be a whole number of at least 1, got 2.0"
    ):
        criterion(2.0)
    with pytest.raises(
        ArgumentTypeError, match=rf"{criterion.__name__}\(n\) must be a whole number of at least 1, got True"
    ):
        criterion(True)
