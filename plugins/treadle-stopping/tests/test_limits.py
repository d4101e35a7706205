import math
from datetime import timedelta

import pytest
from treadle import ArgumentTypeError, ArgumentValueError
from treadle_stopping import EarlyStopper, NumberLimit, TimeLimit, stopping_time


class Clock:
    """A clock that is set by hand, in seconds."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def losses_every(seconds, clock, times):
    for _ in range(times):
        yield 1.0
        clock.now += seconds


@pytest.mark.parametrize("n", [1, 2, 7])
def test_number_limit_stops_at_the_nth_loss(n):
    assert stopping_time(NumberLimit(n), [1.0] * 10) == n


def test_number_limit_does_not_count_training_losses():
    stopper = EarlyStopper(NumberLimit(2))
    assert [stopper.done(1.0, training) for training in (True, True, True, False, True, False)] == [False] * 5 + [True]
    assert stopper.message == "Stopped early by NumberLimit(n=2): 2 losses have been seen."


def test_number_limit_is_100_by_default_and_at_least_1():
    assert NumberLimit() == NumberLimit(100)
    with pytest.raises(ArgumentValueError, match=r"NumberLimit\(n\) must be a whole number of at least 1, got -1"):
        NumberLimit(-1)


def test_a_number_is_hours_and_half_an_hour_the_default():
    assert TimeLimit(1).t == timedelta(hours=1)
    assert TimeLimit(0.5) == TimeLimit(timedelta(minutes=30)) == TimeLimit()
    assert TimeLimit(timedelta(days=2)) == TimeLimit(48)


def test_the_limit_is_rounded_to_milliseconds():
    assert TimeLimit(timedelta(microseconds=1400)).t == timedelta(milliseconds=1)
    assert TimeLimit(1 / 3_600_000).t == timedelta(milliseconds=1)


def test_the_clock_starts_at_the_first_loss_and_more_than_the_limit_has_to_pass():
    clock = Clock()
    limit = TimeLimit(timedelta(seconds=20), clock=clock)
    assert stopping_time(limit, losses_every(10, clock, 10)) == 4  # at 30 s; at 20 s it is not above


def test_the_clock_starts_at_a_training_loss_too():
    clock = Clock()
    stopper = EarlyStopper(TimeLimit(timedelta(seconds=20), clock=clock))
    assert not stopper.done(1.0, training=True)
    clock.now += 20.001
    assert stopper.done(1.0)
    assert stopper.message.startswith("Stopped early by TimeLimit(t=datetime.timedelta(seconds=20)): ")
    assert stopper.message.endswith("more than 0:00:20 hours have passed.")


def test_start_starts_the_clock_before_the_first_loss():
    clock = Clock()
    stopper = EarlyStopper(TimeLimit(timedelta(seconds=20), clock=clock))
    stopper.start()
    clock.now += 21
    stopper.start()
    assert stopper.done(1.0)


def test_a_resumed_clock_goes_on_from_the_time_used_up():
    clock = Clock()
    limit = TimeLimit(timedelta(seconds=20), clock=clock)
    stopper, resumed = EarlyStopper(limit), EarlyStopper(limit)
    stopper.start()
    clock.now += 15
    saved = stopper.state_dict()
    assert saved == {"kind": "TimeLimit", "started": True, "state": {"elapsed": 15.0}}
    clock.now += 3600
    resumed.load_state_dict(saved)
    assert not resumed.done(1.0)
    clock.now += 5.5
    assert resumed.done(1.0)


def test_the_clock_is_not_part_of_what_a_limit_is():
    assert TimeLimit(1, clock=Clock()) == TimeLimit(1)
    assert repr(TimeLimit(1)) == "TimeLimit(t=datetime.timedelta(seconds=3600))"


@pytest.mark.parametrize("t", [0, -1, timedelta(0), timedelta(microseconds=400), -math.inf])
def test_a_limit_that_is_not_positive_is_refused(t):
    with pytest.raises(
        ArgumentValueError, match=r"must be (a number above 0|at least a millisecond), got .*\nFix: .*\n    TimeLimit\("
    ):
        TimeLimit(t)


def test_a_limit_without_end_is_refused():
    with pytest.raises(
        ArgumentValueError, match=r"TimeLimit\(t\) is too long: inf hours.\nFix: for no limit, .*\n    Never\(\)"
    ):
        TimeLimit(math.inf)
    with pytest.raises(ArgumentValueError, match=r"TimeLimit\(t\), .*, must be a number above 0, got nan"):
        TimeLimit(math.nan)


def test_a_limit_is_hours_or_a_timedelta():
    with pytest.raises(ArgumentTypeError, match=r"in hours or as a timedelta, must be a number above 0, got '30min'"):
        TimeLimit("30min")
