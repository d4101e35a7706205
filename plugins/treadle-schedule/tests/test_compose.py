import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle_schedule import (
    Constant,
    Exp,
    Interpolator,
    Loop,
    Poly,
    ScheduleError,
    ScheduleRangeError,
    Sequence,
    Shifted,
    Shortened,
)
from treadle_schedule.schedule import length_of


def clock(t):
    return t


def values(schedule, n):
    return [schedule(t) for t in range(1, n + 1)]


def test_a_sequence_starts_each_piece_at_its_step_1():
    assert values(Sequence((clock, 2), (clock, 3), (clock, 1)), 6) == [1, 2, 1, 2, 3, 1]


def test_the_last_piece_of_a_sequence_keeps_counting():
    assert values(Sequence((clock, 2), (clock, 1)), 6) == [1, 2, 1, 2, 3, 4]


def test_a_number_in_a_sequence_is_a_constant():
    assert Sequence((0.5, 2), (clock, 1)) == Sequence((Constant(0.5), 2), (clock, 1))


def test_a_piece_of_no_steps_is_passed_over():
    assert values(Sequence((9, 0), (clock, 2), (9, 0), (clock, 2)), 4) == [1, 2, 1, 2]


def test_a_piece_that_is_too_short_is_an_error():
    with pytest.raises(ScheduleRangeError, match=r"Sequence\(.*\) has 5 steps and was called with step 6"):
        Sequence((0.1, 2), (Poly(1.0, 1, 3), 3))(6)


NUMBERS = st.integers(1, 4)
SCHEDULES = st.recursive(
    st.one_of(NUMBERS.map(lambda n: Poly(1.0, 1, n)), st.just(Constant(1.0)), st.just(clock)),
    lambda inner: st.one_of(
        st.builds(Loop, inner, NUMBERS),
        st.builds(Shifted, inner, NUMBERS),
        st.builds(Shortened, inner, NUMBERS),
        st.builds(Interpolator, inner, st.sampled_from([0.3, 0.5, 1, 1.5, 3])),
        st.lists(st.tuples(inner, st.integers(0, 4)), min_size=1, max_size=3).map(lambda pieces: Sequence(*pieces)),
    ),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None)
@given(SCHEDULES)
def test_the_length_is_the_last_step_that_has_a_value(schedule):
    length = length_of(schedule)
    for t in range(1, 25):
        if t <= length:
            schedule(t)
        else:
            with pytest.raises(ScheduleRangeError):
                schedule(t)


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ((), r"Sequence has no pieces\.\nFix: pass pairs of a schedule and a number of steps:\n    Sequence\(\(Exp"),
        ((Exp(1.0, 0.9), 5), r"Sequence: Exp\(start=1.0, decay=0.9\) is not a piece\.\nFix: pass pairs"),
        (((0.1, 2.5),), r"Sequence: \(0.1, 2.5\) is not a piece"),
        (((0.1, -1),), r"Sequence: \(0.1, -1\) is not a piece"),
        ((("fast", 3),), "Sequence: 'fast' is not a schedule"),
    ],
)
def test_a_sequence_of_anything_but_pairs_is_refused(pieces, message):
    with pytest.raises(ScheduleError, match=message):
        Sequence(*pieces)


def test_a_loop_starts_again_after_its_period():
    assert values(Loop(clock, 3), 7) == [1, 2, 3, 1, 2, 3, 1]


def test_shifted_by_one_is_the_schedule_itself():
    assert values(Shifted(clock, 1), 3) == [1, 2, 3]
    assert values(Shifted(clock, 4), 3) == [4, 5, 6]


def test_shortened_gives_the_same_values_up_to_its_end():
    assert values(Shortened(clock, 3), 3) == [1, 2, 3]


def test_an_interpolator_stretches_each_step():
    assert values(Interpolator(clock, 3), 7) == [1, 1, 1, 2, 2, 2, 3]
    assert values(Interpolator(clock, 2.5), 6) == [1, 1, 2, 2, 2, 3]
    assert values(Interpolator(clock, 0.5), 3) == [2, 4, 6]


def test_a_derived_schedule_compares_by_its_parts():
    assert Loop(0.1, 3) == Loop(Constant(0.1), 3) != Loop(0.1, 4)
    assert repr(Shifted(Exp(1.0, 0.9), 3)) == "Shifted(schedule=Exp(start=1.0, decay=0.9), k=3)"
