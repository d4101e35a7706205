import pytest
from treadle_schedule import CosAnneal, Ramp, Sequence, cosine, linear, sine_in, sine_out


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
