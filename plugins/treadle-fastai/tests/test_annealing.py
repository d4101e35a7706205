"""The annealing functions and `Stepper`, by their formulas."""

import pytest
from treadle.errors import ArgumentTypeError
from treadle_fastai import (
    Stepper,
    annealing_cos,
    annealing_exp,
    annealing_linear,
    annealing_no,
    annealing_poly,
)


@pytest.mark.parametrize(
    ("anneal", "end", "values"),
    [
        (annealing_no, 0, (1, 1, 1, 1, 1)),
        (annealing_linear, 0, (1, 0.75, 0.5, 0.25, 0)),
        (annealing_cos, 0, (1, 0.85355339, 0.5, 0.14644661, 0)),
        (annealing_exp, 0.01, (1, 0.31622777, 0.1, 0.03162278, 0.01)),
        (annealing_poly(2), 0, (1, 0.5625, 0.25, 0.0625, 0)),
    ],
)
def test_an_annealing_function_goes_from_start_to_end(anneal, end, values) -> None:
    assert [anneal(1, end, pct) for pct in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx(values, abs=1e-8)


def test_a_stepper_never_gives_its_start_and_ends_with_its_end() -> None:
    stepper = Stepper((0.0, 1.0), 4, annealing_cos)
    values = []
    while not stepper.is_done:
        values.append(stepper.step())
    assert values == pytest.approx([0.14644661, 0.5, 0.85355339, 1.0])
    stepper.restart()
    assert (stepper.is_done, stepper.step()) == (False, values[0])


def test_a_pair_is_annealed_linearly_and_a_value_alone_not_at_all() -> None:
    assert Stepper((1, 0), 4).step() == 0.75
    assert Stepper(3.0, 4).step() == 3.0


def test_a_stepper_goes_on_beyond_its_end_and_has_at_least_one_step() -> None:
    stepper = Stepper((0, 1), 2)
    assert [stepper.step() for _ in range(3)] == [0.5, 1.0, 1.5]
    assert Stepper((0, 1), 0).step() == 1.0


def test_a_stepper_goes_on_where_it_was_saved() -> None:
    stepper, other = Stepper((0, 1), 4), Stepper((0, 1), 4)
    stepper.step()
    other.load_state_dict(stepper.state_dict())
    assert other.step() == stepper.step()


def test_what_is_not_a_pair_or_an_annealing_function_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match=r"must be a pair of start and end.*got \(1, 2, 3\)\.\nFix: write"):
        Stepper((1, 2, 3), 4)
    with pytest.raises(ArgumentTypeError, match=r"Stepper\(func\) is called with \(start, end, pct\)"):
        Stepper((1, 2), 4, lambda pct: pct)
