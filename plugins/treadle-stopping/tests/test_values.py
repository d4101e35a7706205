import math

import pytest
from treadle import ArgumentTypeError, ArgumentValueError
from treadle_stopping import EarlyStopper, InvalidValue, Threshold, stopping_time


@pytest.mark.parametrize("invalid", [math.nan, math.inf, -math.inf])
def test_invalid_value_stops_at_nan_and_both_infinities(invalid):
    assert stopping_time(InvalidValue(), [10.0, 3.0, invalid, 4.0]) == 3


def test_invalid_value_goes_on_while_losses_are_finite():
    assert stopping_time(InvalidValue(), [10.0, -1e308, 0.0]) == 0


def test_an_invalid_training_loss_stops_at_the_next_out_of_sample_loss():
    assert stopping_time(InvalidValue(), [1.0, math.nan, 2.0, 3.0], [False, True, True, False]) == 2


def test_invalid_value_remembers():
    stopper = EarlyStopper(InvalidValue())
    assert [stopper.done(loss, training) for loss, training in [(1.0, 0), (math.inf, 1), (1.0, 1), (1.0, 0)]] == [
        False,
        True,
        True,
        True,
    ]
    assert stopper.message == "Stopped early by InvalidValue(): a loss was inf."


def test_threshold_stops_below_its_value_and_not_at_it():
    assert stopping_time(Threshold(2.5), [12.0, 32.0, 2.5, 2.0, 5.0]) == 4
    assert stopping_time(Threshold(), [1.0, 0.0, -0.1]) == 3


def test_threshold_looks_at_the_latest_loss_only_and_not_at_nan_or_training():
    assert stopping_time(Threshold(2.5), [math.nan, 1.0, 3.0], [False, True, False]) == 0


def test_threshold_says_the_loss():
    stopper = EarlyStopper(Threshold(2.5))
    assert stopper.done(2.25)
    assert stopper.message == "Stopped early by Threshold(value=2.5): the loss is 2.25."


def test_threshold_needs_a_number():
    with pytest.raises(ArgumentTypeError, match=r"Threshold\(value\) must be a number, got 'low'"):
        Threshold("low")
    with pytest.raises(ArgumentTypeError, match=r"Threshold\(value\) must be a number, got True"):
        Threshold(True)
    with pytest.raises(ArgumentValueError, match=r"Threshold\(value\) must be a number, got nan"):
        Threshold(math.nan)
