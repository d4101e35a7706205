import math

import pytest
from treadle_schedule import CosAnneal, Sin, SinDecay2, SinExp, Triangle, TriangleDecay2, TriangleExp


def values(schedule, n):
    return [schedule(t) for t in range(1, n + 1)]


# The formulas as the ancestor's documentation writes them: range r, offset o.
def triangle(t, period):
    return 2 / math.pi * abs(math.asin(math.sin(math.pi * (t - 1) / period)))


def sine(t, period):
    return abs(math.sin(math.pi * (t - 1) / period))


FORMULAS = [
    (Triangle(0.2, 1.0, 7), lambda t: 0.8 * triangle(t, 7) + 0.2),
    (TriangleDecay2(0.2, 1.0, 7), lambda t: 0.8 * 0.5 ** ((t - 1) // 7) * triangle(t, 7) + 0.2),
    (TriangleExp(0.2, 1.0, 7, 0.9), lambda t: 0.8 * 0.9 ** (t - 1) * triangle(t, 7) + 0.2),
    (Sin(0.2, 1.0, 7), lambda t: 0.8 * sine(t, 7) + 0.2),
    (SinDecay2(0.2, 1.0, 7), lambda t: 0.8 * 0.5 ** ((t - 1) // 7) * sine(t, 7) + 0.2),
    (SinExp(0.2, 1.0, 7, 0.9), lambda t: 0.8 * 0.9 ** (t - 1) * sine(t, 7) + 0.2),
    (CosAnneal(0.2, 1.0, 7), lambda t: 0.8 * (1 + math.cos(math.pi * ((t - 1) % 7) / 7)) / 2 + 0.2),
    (CosAnneal(0.2, 1.0, 7, restart=False), lambda t: 0.8 * (1 + math.cos(math.pi * (t - 1) / 7)) / 2 + 0.2),
]


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=lambda x: repr(x) if not callable(x) else "")
def test_a_wave_follows_its_formula_over_many_periods(schedule, formula):
    assert values(schedule, 50) == pytest.approx([formula(t) for t in range(1, 51)], abs=1e-12)


def test_the_triangle_starts_at_the_minimum_and_peaks_after_half_a_period():
    assert values(Triangle(0.0, 1.0, 4), 9) == [0, 0.5, 1, 0.5, 0, 0.5, 1, 0.5, 0]


def test_the_order_of_the_bounds_does_not_matter():
    assert values(Triangle(1.0, 0.0, 4), 5) == [0, 0.5, 1, 0.5, 0]
    assert values(Sin(1.0, 0.2, 5), 9) == values(Sin(0.2, 1.0, 5), 9)


def test_decay2_halves_the_height_and_keeps_the_lower_bound():
    assert values(TriangleDecay2(0.5, 1.5, 2), 6) == [0.5, 1.5, 0.5, 1.0, 0.5, 0.75]


def test_cosine_annealing_starts_at_the_maximum_and_jumps_back_before_the_minimum():
    assert values(CosAnneal(0.0, 1.0, 2), 4) == pytest.approx([1, 0.5, 1, 0.5])


def test_cosine_annealing_without_restart_goes_through_the_minimum_and_back_up():
    assert values(CosAnneal(0.0, 1.0, 2, restart=False), 5) == pytest.approx([1, 0.5, 0, 0.5, 1])
