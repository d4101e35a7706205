import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from treadle import ArgumentTypeError, ArgumentValueError
from treadle_stopping import (
    GL,
    PQ,
    EarlyStopper,
    InvalidValue,
    Never,
    NumberLimit,
    NumberSinceBest,
    Patience,
    Threshold,
    TimeLimit,
    stopping_time,
)

EVERY = Patience(2) + NumberSinceBest(3) + GL(30) + PQ(2.0, 3) + InvalidValue() + NumberLimit(8) + Threshold(0.1)


def test_a_stopper_is_done_when_any_of_its_criteria_is():
    stopper = EarlyStopper(Patience(2), InvalidValue())
    assert [stopper.done(loss) for loss in (0.123, 0.234, 0.345)] == [False, False, True]
    assert stopper.fired == Patience(2)


def test_a_stopper_without_criteria_never_stops():
    stopper = EarlyStopper()
    assert stopper.criterion == Never()
    assert not stopper.done(float("nan"))
    assert stopper.message == ""


def test_a_stopper_that_has_seen_nothing_has_nothing_to_say():
    stopper = EarlyStopper(Patience(1))
    assert (stopper.message, stopper.fired) == ("", Never())


def test_a_stopper_takes_tensors_of_one_element():
    stopper = EarlyStopper(Threshold(1))
    assert stopper.done(torch.tensor([0.5]))


@pytest.mark.parametrize("loss", [None, "low", torch.ones(2)])
def test_a_stopper_refuses_a_loss_that_is_not_a_number(loss):
    with pytest.raises(ArgumentTypeError, match="EarlyStopper needs a loss that is one number, got"):
        EarlyStopper(Patience(1)).done(loss)


def test_two_stoppers_of_one_criterion_share_no_memory():
    criterion = Patience(1) + PQ()
    first, second = EarlyStopper(criterion), EarlyStopper(criterion)
    assert [first.done(1.0), first.done(2.0)] == [False, True]
    assert second.done(3.0) is False


def test_reset_forgets():
    stopper = EarlyStopper(Patience(1))
    stopper.done(1.0)
    stopper.reset()
    assert not stopper.done(2.0)
    assert stopper.done(3.0)


updates = st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=25)


@given(updates, updates)
def test_a_stopper_goes_on_from_its_saved_state(before, after):
    stopper, resumed = EarlyStopper(EVERY), EarlyStopper(EVERY)
    for loss, training in before:
        stopper.update(loss, training)
    resumed.load_state_dict(json.loads(json.dumps(stopper.state_dict())))
    assert resumed.message == stopper.message
    for loss, training in after:
        assert resumed.done(loss, training) == stopper.done(loss, training)
        assert resumed.message == stopper.message


def test_a_saved_state_does_not_change_with_the_stopper():
    stopper = EarlyStopper(PQ())
    stopper.update(1.0, training=True)
    saved = stopper.state_dict()
    stopper.update(2.0, training=True)
    assert saved["state"]["training"] == [1.0]


def test_a_saved_state_can_be_taken_over_with_other_settings_but_not_by_other_criteria():
    saved = EarlyStopper(Patience(3) + TimeLimit(1)).state_dict()
    EarlyStopper(Patience(5), TimeLimit(2)).load_state_dict(saved)
    with pytest.raises(ArgumentValueError, match=r"belongs to .* Patience \+ TimeLimit, and this one is GL\(alpha=2"):
        EarlyStopper(GL()).load_state_dict(saved)


def test_stopping_time_counts_out_of_sample_losses_only():
    assert stopping_time(Threshold(1), [5.0, 0.5, 4.0, 0.5], [False, True, False, False]) == 3


def test_stopping_time_is_zero_if_it_never_stops():
    assert stopping_time(Threshold(1), [5.0, 4.0]) == 0
    assert stopping_time(Threshold(1), []) == 0


def test_stopping_time_takes_any_iterables_as_long_as_losses_last():
    assert stopping_time(NumberLimit(5), iter(lambda: 1.0, None)) == 5


def test_stopping_time_needs_one_entry_of_is_training_for_each_loss():
    with pytest.raises(ArgumentValueError, match="got 3 losses and 1 entries of is_training"):
        stopping_time(Patience(1), [1.0, 2.0, 3.0], [True])


def test_stopping_time_needs_a_criterion():
    with pytest.raises(
        ArgumentTypeError, match=r"must be an instance of Criterion, got 3.\nFix: .*\n    Patience\(3\)"
    ):
        stopping_time(3, [1.0])
