import math

import numpy as np
import pytest
from treadle import (
    ArgumentTypeError,
    ArgumentValueError,
    CallbackCondition,
    EpochEnd,
    FrequencyThrottle,
    StepBegin,
    StepEnd,
    TimeThrottle,
    TrainingPhase,
)

PHASE = TrainingPhase()


def passes(condition: CallbackCondition, n: int) -> list[int]:
    """The numbers, from 1, of the dispatches that go through."""
    return [i for i in range(1, n + 1) if condition.should_run(StepEnd, PHASE)]


@pytest.mark.parametrize(
    ("freq", "through"), [(1, [1, 2, 3, 4, 5, 6]), (2, [1, 3, 5]), (3, [1, 4]), (5, [1, 6]), (6, [1]), (100, [1])]
)
def test_a_frequency_lets_through_the_first_and_every_freq_th_after_it(freq, through) -> None:
    assert passes(FrequencyThrottle(freq, StepEnd), 6) == through


def test_other_events_pass_and_do_not_count() -> None:
    condition = FrequencyThrottle(2, StepEnd)
    assert condition.should_run(StepEnd, PHASE)
    assert all(condition.should_run(event, PHASE) for event in (StepBegin, EpochEnd, StepBegin))
    assert not condition.should_run(StepEnd, PHASE)


def test_the_count_is_its_state() -> None:
    condition = FrequencyThrottle(3, StepEnd)
    passes(condition, 2)
    other = FrequencyThrottle(3, StepEnd)
    other.load_state_dict(condition.state_dict())
    assert (condition.state_dict(), passes(other, 3)) == ({"count": 2}, [2])


class Clock:
    def __init__(self, *times: float) -> None:
        self.times = list(times)

    def __call__(self) -> float:
        return self.times.pop(0)


def test_a_time_lets_through_the_first_and_then_one_after_more_than_that_time() -> None:
    condition = TimeThrottle(5, StepEnd, clock=Clock(0, 4, 5, 5.1, 10, 10.2))
    assert passes(condition, 6) == [1, 4, 6]


def test_the_time_runs_from_the_last_one_that_went_through() -> None:
    condition = TimeThrottle(0, StepEnd, clock=Clock(1, 1, 2))
    assert passes(condition, 3) == [1, 3]


def test_other_events_pass_a_time_without_a_look_at_the_clock() -> None:
    condition = TimeThrottle(5, StepEnd, clock=Clock())
    assert condition.should_run(StepBegin, PHASE)


def test_the_clock_never_goes_backwards() -> None:
    condition = TimeThrottle(1e9, StepEnd)
    assert passes(condition, 3) == [1]


def test_a_time_has_no_state_for_a_checkpoint() -> None:
    assert TimeThrottle(5, StepEnd).state_dict() == {}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: FrequencyThrottle(2.0, StepEnd),
            ArgumentTypeError,
            r"freq is a whole number of dispatches, got 2\.0: freq=10",
        ),
        (
            lambda: FrequencyThrottle(True, StepEnd),
            ArgumentTypeError,
            r"freq is a whole number of dispatches, got True",
        ),
        (lambda: FrequencyThrottle("2", StepEnd), ArgumentTypeError, r"freq is a whole number of dispatches, got '2'"),
        (lambda: FrequencyThrottle(0, StepEnd), ArgumentValueError, r"freq is at least 1 dispatch, got 0: freq=10"),
        (lambda: FrequencyThrottle(-3, StepEnd), ArgumentValueError, r"freq is at least 1 dispatch, got -3"),
        (lambda: TimeThrottle("5", StepEnd), ArgumentTypeError, r"seconds is a number, got '5': seconds=5"),
        (lambda: TimeThrottle(True, StepEnd), ArgumentTypeError, r"seconds is a number, got True"),
        (lambda: TimeThrottle(-1, StepEnd), ArgumentValueError, r"seconds is 0 or more, got -1: seconds=5"),
        (lambda: TimeThrottle(math.nan, StepEnd), ArgumentValueError, r"seconds is 0 or more, got nan"),
        (
            lambda: FrequencyThrottle(2, "on_step_end"),
            ArgumentTypeError,
            r"The class of an event is needed, got 'on_step_end'",
        ),
        (
            lambda: TimeThrottle(2, StepEnd()),
            ArgumentTypeError,
            r"The class of an event is needed, got <.*StepEnd.*throttle\(",
        ),
    ],
)
def test_wrong_arguments_are_refused(make, error, message) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_condition_that_does_not_say_when_says_how_to() -> None:
    class Never(CallbackCondition):
        """Forgets to say."""

    with pytest.raises(
        NotImplementedError, match=r"Never does not say when to run\. Define it:\n    def should_run\(self"
    ):
        Never().should_run(StepEnd, PHASE)


def test_a_condition_has_no_state_by_default() -> None:
    condition = CallbackCondition()
    assert (condition.state_dict(), condition.load_state_dict({})) == ({}, None)


def test_freq_may_come_from_numpy() -> None:
    assert FrequencyThrottle(np.int64(2), StepEnd).freq == 2
