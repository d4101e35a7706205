from treadle_schedule import Exp, Inv, Poly, Step


def values(schedule, n):
    return [schedule(t) for t in range(1, n + 1)]


def test_step_with_one_size_goes_down_by_it_for_ever():
    assert values(Step(1.0, 0.5, 2), 7) == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_step_with_a_list_of_sizes_stays_on_its_last_stair():
    assert values(Step(1.0, 0.5, [1, 3]), 8) == [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]


def test_step_takes_the_sizes_from_any_iterable_and_compares_by_them():
    assert Step(1.0, 0.5, iter([1, 3])) == Step(1.0, 0.5, [1, 3])
    assert hash(Step(1.0, 0.5, [1, 3])) == hash(Step(1.0, 0.5, (1, 3)))


def test_exp_is_multiplied_at_each_step():
    assert values(Exp(8.0, 0.5), 5) == [8, 4, 2, 1, 0.5]


def test_poly_of_degree_one_is_a_line_that_ends_one_step_before_zero():
    assert values(Poly(1.0, 1, 4), 4) == [1, 0.75, 0.5, 0.25]


def test_poly_of_degree_two_is_its_square():
    assert values(Poly(1.0, 2, 4), 4) == [1, 0.5625, 0.25, 0.0625]


def test_inv_divides_by_a_growing_number():
    assert values(Inv(1.0, 1.0, 2), 4) == [1, 1 / 4, 1 / 9, 1 / 16]


def test_inv_that_does_not_decay_is_constant():
    assert values(Inv(0.3, 0.0, 2), 3) == [0.3, 0.3, 0.3]
