import copy
import math
import pickle
import sys
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ExponentialLR, LinearLR, OneCycleLR
from treadle import TreadleError
from treadle_schedule import (
    Constant,
    CosAnneal,
    Exp,
    Interpolator,
    Inv,
    Loop,
    OneCycle,
    PlotError,
    Poly,
    Ramp,
    Schedule,
    ScheduleError,
    ScheduleRangeError,
    Sequence,
    Shifted,
    Shortened,
    Sin,
    SinDecay2,
    SinExp,
    Step,
    TorchSchedule,
    Triangle,
    TriangleDecay2,
    TriangleExp,
    onecycle,
    plot_schedule,
)
from treadle_schedule.schedule import Number

EVERY_SCHEDULE = [
    Step(1.0, 0.5, 3),
    Step(1.0, 0.5, (3, 4)),
    Exp(1.0, 0.9),
    Poly(1.0, 2, 20),
    Inv(1.0, 0.1, 2),
    Triangle(0.1, 1.0, 10),
    TriangleDecay2(0.1, 1.0, 10),
    TriangleExp(0.1, 1.0, 10, 0.9),
    Sin(0.1, 1.0, 10),
    SinDecay2(0.1, 1.0, 10),
    SinExp(0.1, 1.0, 10, 0.9),
    CosAnneal(0.1, 1.0, 10),
    CosAnneal(0.1, 1.0, 10, restart=False),
    Constant(0.1),
    Sequence((Exp(1.0, 0.9), 5), (0.1, 5)),
    Loop(Exp(1.0, 0.9), 5),
    Shifted(Exp(1.0, 0.9), 5),
    Shortened(Exp(1.0, 0.9), 20),
    Interpolator(Exp(1.0, 0.9), 5),
    Ramp(0.0, 1.0, 5),
    OneCycle(20, 1.0),
    onecycle(20, 1.0),
    TorchSchedule(ExponentialLR, start=1.0, gamma=0.9),
]


@pytest.mark.parametrize("schedule", EVERY_SCHEDULE, ids=repr)
class TestEverySchedule:
    def test_gives_a_number_between_zero_and_its_highest_for_each_step(self, schedule):
        assert all(0 <= schedule(t) <= 1 for t in range(1, 21))

    def test_can_be_called_in_any_order(self, schedule):
        forwards = [schedule(t) for t in range(1, 21)]
        assert [schedule(t) for t in range(20, 0, -1)] == forwards[::-1]

    def test_refuses_a_step_before_the_first(self, schedule):
        with pytest.raises(
            ScheduleRangeError, match=r"was called with step 0, and steps are counted from 1\.\nFix: start with step 1"
        ):
            schedule(0)

    def test_equals_its_copy_and_its_pickle(self, schedule):
        schedule(3)
        assert copy.deepcopy(schedule) == schedule == pickle.loads(pickle.dumps(schedule))
        assert copy.deepcopy(schedule)(7) == schedule(7)

    def test_cannot_be_changed(self, schedule):
        with pytest.raises(AttributeError):
            schedule.start = 2.0


def test_schedules_are_equal_if_their_fields_are():
    assert len({Exp(0.1, 0.9), Exp(0.1, 0.9), Exp(0.1, 0.8), Triangle(0, 1, 2), Sin(0, 1, 2)}) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Exp("0.1", 0.9), r"Exp: `start` has an invalid value: '0.1'\.\nFix: pass a finite number\."),
        (lambda: Exp(math.nan, 0.9), r"Exp: `start` has an invalid value: nan\.\nFix: pass a finite number\."),
        (lambda: Exp(True, 0.9), r"Exp: `start` has an invalid value: True\.\nFix: pass a finite number\."),
        (lambda: Inv(1.0, -0.5, 1), r"Inv: `decay` has an invalid value: -0.5\.\nFix: pass a number of at least 0\."),
        (
            lambda: Poly(1.0, 2, 2.5),
            r"Poly: `max_iter` has an invalid value: 2.5\.\nFix: pass a whole number of at least 1\.",
        ),
        (
            lambda: Step(1.0, 0.5, 0),
            r"Step: `step_sizes` has an invalid value: 0\.\nFix: pass a whole number of at least 1, or a seq",
        ),
        (lambda: Step(1.0, 0.5, []), r"Step: `step_sizes` has an invalid value: \(\)\.\nFix: pass a whole number"),
        (
            lambda: Step(1.0, 0.5, [3, -1]),
            r"Step: `step_sizes` has an invalid value: \(3, -1\)\.\nFix: pass a whole number",
        ),
        (
            lambda: Triangle(0.0, 1.0, 0),
            r"Triangle: `period` has an invalid value: 0\.\nFix: pass a number greater than 0\.",
        ),
        (
            lambda: SinExp(0.0, 1.0, 5, None),
            r"SinExp: `decay` has an invalid value: None\.\nFix: pass a number of at least 0\.",
        ),
        (lambda: Constant("high"), r"Constant: `value` has an invalid value: 'high'\.\nFix: pass a finite number\."),
        (lambda: Loop(0.1, 0), r"Loop: `period` has an invalid value: 0\.\nFix: pass a whole number of at least 1\."),
        (lambda: Shifted(0.1, 0), r"Shifted: `k` has an invalid value: 0\.\nFix: pass a whole number of at least 1\."),
        (
            lambda: Shortened(0.1, -1),
            r"Shortened: `n` has an invalid value: -1\.\nFix: pass a whole number of at least 1\.",
        ),
        (
            lambda: Interpolator(0.1, 0),
            r"Interpolator: `rate` has an invalid value: 0\.\nFix: pass a number greater than 0\.",
        ),
        (
            lambda: Ramp(0, 1, 3, curve="cosine"),
            r"Ramp: `curve` has an invalid value: 'cosine'\.\nFix: pass a callable from",
        ),
        (
            lambda: OneCycle(0, 1.0),
            r"OneCycle: `nsteps` has an invalid value: 0\.\nFix: pass a whole number of at least 1\.",
        ),
        (
            lambda: OneCycle(9, 1.0, pct_start=30),
            r"OneCycle: `pct_start` has an invalid value: 30\.\nFix: pass a number from 0 to 1\.",
        ),
        (
            lambda: onecycle(9, 1.0, div=0),
            r"onecycle: `div` has an invalid value: 0\.\nFix: pass a number greater than 0\.",
        ),
        (
            lambda: onecycle(9.5, 1.0),
            r"onecycle: `nsteps` has an invalid value: 9.5\.\nFix: pass a whole number of at least 1\.",
        ),
    ],
)
def test_an_invalid_value_is_refused_when_the_schedule_is_made(make, message):
    with pytest.raises(ScheduleError, match=message) as caught:
        make()
    assert isinstance(caught.value, TreadleError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("schedule", [Poly(1.0, 2, 20), Shortened(0.1, 20), OneCycle(20, 1.0)], ids=repr)
def test_a_schedule_with_an_end_refuses_a_step_past_it(schedule):
    schedule(20)
    with pytest.raises(
        ScheduleRangeError, match=r"has 20 steps and was called with step 21\.\nFix: .*\n    Sequence"
    ) as caught:
        schedule(21)
    assert isinstance(caught.value, TreadleError)
    assert isinstance(caught.value, IndexError)


def test_the_fix_for_a_schedule_that_ended_works():
    schedule = Sequence((OneCycle(20, 1.0), 20), (0.001, 1))
    assert [schedule(21), schedule(1000)] == [0.001, 0.001]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("fast", "Loop: 'fast' is not a schedule.\nFix: pass a number or a callable from the step's number"),
        (None, "Loop: None is not a schedule"),
        (math.inf, "Loop: inf is not a schedule"),
        (Exp, r"Loop: Exp is a class\.\nFix: make an instance:\n    Exp\(start, decay\)"),
        (
            ExponentialLR,
            r"Loop: ExponentialLR steps an optimizer .*\nFix: wrap its class:\n    TorchSchedule\(ExponentialLR, start",
        ),
    ],
)
def test_what_is_not_a_schedule_is_refused_with_the_line_that_fixes_it(value, message):
    with pytest.raises(ScheduleError, match=message):
        Loop(value, 3)


def test_a_custom_schedule_is_checked_like_the_others():
    @dataclass(frozen=True)
    class Linear(Schedule):
        start: Number
        slope: Number

        def at(self, t):
            return self.start + self.slope * (t - 1)

    assert [Linear(1.0, 0.5)(t) for t in (1, 2, 3)] == [1.0, 1.5, 2.0]
    with pytest.raises(
        ScheduleError, match=r"Linear: `slope` has an invalid value: None\.\nFix: pass a finite number\."
    ):
        Linear(1.0, None)


def test_the_picture_shows_the_value_of_every_step():
    (line,) = plot_schedule(Exp(1.0, 0.5), 4).axes[0].lines
    assert list(line.get_xdata()) == [1, 2, 3, 4]
    assert list(line.get_ydata()) == [1, 0.5, 0.25, 0.125]


def test_a_schedule_with_a_value_for_each_group_is_drawn_as_several_lines():
    lines = plot_schedule(lambda t: (t, 10 * t), 3).axes[0].lines
    assert [list(line.get_ydata()) for line in lines] == [[1, 2, 3], [10, 20, 30]]


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotError, match=r"pip install 'treadle-schedule\[plot\]'"):
        plot_schedule(0.1, 3)


ENDING = st.recursive(
    st.one_of(
        st.builds(OneCycle, st.integers(2, 8), st.just(0.1)),
        st.builds(Poly, st.just(0.1), st.just(2), st.integers(1, 8)),
        st.builds(lambda n: TorchSchedule(LinearLR, start=0.1, total_iters=n), st.integers(2, 8)),
        st.builds(
            lambda n: TorchSchedule(OneCycleLR, start=0.1, max_lr=1.0, total_steps=n, cycle_momentum=False),
            st.integers(2, 8),
        ),
    ),
    lambda inner: st.one_of(
        st.builds(Shifted, inner, st.integers(1, 10)),
        st.builds(Shortened, inner, st.integers(1, 10)),
        st.builds(Interpolator, inner, st.sampled_from([0.5, 1, 1.5, 3])),
        st.builds(lambda schedule, n: Sequence((0.1, n), (schedule, 5)), inner, st.integers(1, 4)),
    ),
    max_leaves=3,
)


@settings(max_examples=40, deadline=None)
@given(ENDING)
def test_past_its_end_a_schedule_offers_a_line_that_works(schedule):
    if math.isinf(schedule.length):
        return
    past = int(schedule.length) + 1
    with pytest.raises(ScheduleRangeError, match=r"\nFix: make it longer") as refused:
        schedule(past)
    _, offered, line = str(refused.value).partition("or say what follows, here 0.001:\n    ")
    assert bool(offered) == (schedule.length >= 1)
    if offered:
        longer = eval(line, {"Sequence": Sequence, "schedule": schedule})
        assert [longer(t) for t in range(1, past)] == [schedule(t) for t in range(1, past)]
        assert longer(past) == 0.001
