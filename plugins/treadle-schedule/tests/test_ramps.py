import math

import pytest
from treadle_schedule import CosAnneal, OneCycle, Ramp, Sequence, cosine, linear, onecycle, sine_in, sine_out


def values(schedule, n):
    return [schedule(t) for t in range(1, n + 1)]


def test_a_ramp_arrives_one_step_after_its_last_and_stays():
    assert values(Ramp(1.0, 3.0, 4), 7) == [1, 1.5, 2, 2.5, 3, 3, 3]


def test_a_ramp_of_no_steps_is_at_its_end():
    assert values(Ramp(1.0, 3.0, 0), 2) == [3, 3]


def test_a_ramp_goes_down_as_well_as_up():
    assert values(Ramp(3.0, 1.0, 2), 3) == [3, 2, 1]


@pytest.mark.parametrize("curve", [linear, cosine, sine_in, sine_out])
def test_every_curve_leads_from_zero_to_one_without_turning_back(curve):
    points = [curve(i / 20) for i in range(21)]
    assert (points[0], points[-1]) == pytest.approx((0, 1))
    assert points == sorted(points)


def test_a_warm_up_leads_into_what_follows():
    schedule = Sequence((Ramp(0.0, 1.0, 2), 2), (CosAnneal(0.0, 1.0, 2), 2))
    assert values(schedule, 4) == pytest.approx([0, 0.5, 1, 0.5])


def test_a_ramp_is_shown_with_the_name_of_its_curve():
    assert repr(Ramp(0.0, 0.1, 5, sine_in)) == "Ramp(0.0, 0.1, nsteps=5, curve=sine_in)"


def half_cosines(t, n, start, peak, end, pct):
    w = math.ceil(n * pct)
    if t <= w:
        return start + (peak - start) * (1 + math.cos(math.pi * (1 + (t - 1) / w))) / 2
    return end + (peak - end) * (1 + math.cos(math.pi * (t - 1 - w) / (n - w))) / 2


def quarter_sines(t, n, start, peak, end, pct):
    w = math.ceil(n * pct)
    d = n - w
    if t <= w:
        return start + (peak - start) * math.sin(math.pi * (t - 1) / (2 * w))
    return end + (peak - end) * math.sin(math.pi * (t - w - 1 + d) / (2 * d))


@pytest.mark.parametrize("pct", [0.25, 0.3, 0.5, 0.01, 0.99])
@pytest.mark.parametrize(
    ("make", "formula"), [(OneCycle, half_cosines), (onecycle, quarter_sines)], ids=["OneCycle", "onecycle"]
)
def test_a_cycle_follows_its_formula(make, formula, pct):
    schedule = make(30, 2.0, start_val=0.5, end_val=0.1, pct_start=pct)
    expected = [formula(t, 30, 0.5, 2.0, 0.1, pct) for t in range(1, 31)]
    assert values(schedule, 30) == pytest.approx(expected, abs=1e-12)


def test_the_default_cycle_starts_at_a_25th_peaks_after_a_quarter_and_ends_near_a_100_000th():
    schedule = OneCycle(100, 1.0)
    assert schedule(1) == 1 / 25
    assert max(range(1, 101), key=schedule) == 26
    assert schedule(26) == 1
    assert schedule(100) == pytest.approx(1e-5 + (1 - 1e-5) * (1 + math.cos(math.pi * 74 / 75)) / 2)


def test_onecycle_defaults_follow_div_and_divfinal():
    assert onecycle(100, 1.0)(1) == 1 / 25
    assert onecycle(100, 1.0, div=10)(1) == 1 / 10
    assert onecycle(100, 1.0)(101) == 1 / 1e5
    assert onecycle(100, 1.0, divfinal=100)(101) == 1 / 100
    assert onecycle(100, 1.0, start_val=0.3, end_val=0.2, div=7, divfinal=7)(1) == 0.3


def test_onecycle_peaks_at_the_first_step_of_the_way_down():
    schedule = onecycle(100, 1.0)
    assert schedule(26) == 1 == max(values(schedule, 100))


def test_onecycle_holds_its_end_for_ever():
    schedule = onecycle(10, 1.0)
    assert [schedule(t) for t in (11, 12, 20, 21, 1000)] == [1e-5] * 5


def test_onecycle_turned_around_suits_a_momentum():
    schedule = onecycle(4, 0.85, start_val=0.95, end_val=0.95, pct_start=0.5)
    assert values(schedule, 5) == pytest.approx([0.95, 0.8792893, 0.85, 0.8792893, 0.95])


@pytest.mark.parametrize("make", [OneCycle, onecycle])
def test_a_cycle_can_have_only_one_half(make):
    down = make(4, 1.0, start_val=0.0, end_val=0.0, pct_start=0)
    assert (down(1), down(4) < down(3) < 1) == (1, True)
    up = make(4, 1.0, start_val=0.0, end_val=0.0, pct_start=1)
    assert (up(1), 1 > up(4) > up(3)) == (0, True)


def test_cycles_compare_by_their_values():
    assert OneCycle(10, 1.0) == OneCycle(10, 1.0) != OneCycle(10, 1.0, pct_start=0.3)
    assert onecycle(10, 1.0) == onecycle(10, 1.0) != onecycle(10, 1.0, pct_start=0.5)
