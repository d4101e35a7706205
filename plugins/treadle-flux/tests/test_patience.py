"""When it is enough: scripted scores, and the call that says so."""

import math
from collections.abc import Callable

import pytest
import torch
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_flux import early_stopping, patience, plateau


def fires(make: Callable, scores: list, wait: int, **options: object) -> list[int]:
    """The numbers of the calls, from 1, that returned true."""
    left = iter(scores)
    enough = make(lambda: next(left), wait, **options)
    return [i for i, _ in enumerate(scores, 1) if enough()]


@pytest.mark.parametrize(
    ("values", "wait", "expected"),
    [
        ([True, True, True, False, True, True], 2, [2, 3, 6]),
        ([True, False, True], 1, [1, 3]),
        ([1, "x", []], 2, [2]),
        ([False] * 3, 1, []),
    ],
)
def test_patience_ends_with_so_many_true_calls_in_a_row(values, wait, expected) -> None:
    assert fires(patience, values, wait) == expected


@pytest.mark.parametrize(
    ("scores", "delay", "options", "expected"),
    [
        ([1, 2, 3, 4], 3, {}, [4]),
        ([4, 3, 2, 1], 1, {}, []),
        ([1, 1, 1], 1, {}, []),  # an equal score does not count
        ([1, 1, 0.5, 0.9], 1, {"min_dist": 0.4}, [2, 4]),
        ([2, 3, 1, 2, 2], 2, {}, [5]),
        ([1, math.nan, math.nan, 0.5], 2, {}, [3]),  # NaN is not better, and never the best
        ([math.nan, math.nan], 2, {}, [2]),
        ([1, 2, 3], 1, {"distance": lambda best, score: score - best, "init_score": 0}, []),
        ([1, 2], 1, {"init_score": 1.5}, [2]),
    ],
)
def test_early_stopping_counts_scores_that_are_not_better_than_the_best(scores, delay, options, expected) -> None:
    assert fires(early_stopping, scores, delay, **options) == expected


@pytest.mark.parametrize(
    ("scores", "width", "options", "expected"),
    [
        ([3, 2, 1, 1, 1], 2, {}, [5]),
        ([1, 1 + 1e-7, 1, 2, 2], 2, {}, [3]),
        ([1, 1.05, 1.1, 1.15], 3, {"min_dist": 0.1}, [4]),  # each is compared with the one before it
        ([math.nan, math.nan], 1, {}, []),
        ([0.0], 1, {"init_score": 0}, [1]),
        ([1, 2], 1, {"distance": lambda last, score: 0.0}, [1, 2]),
    ],
)
def test_plateau_counts_scores_that_are_close_to_the_one_before(scores, width, options, expected) -> None:
    assert fires(plateau, scores, width, **options) == expected


@pytest.mark.parametrize("make", [early_stopping, plateau])
def test_scores_may_be_tensors_of_which_nothing_is_kept(make) -> None:
    weight = torch.ones(1, requires_grad=True)
    assert fires(make, [weight * 1, weight * 1, weight * 2], 1) == ([2] if make is plateau else [3])


def test_arguments_are_passed_on() -> None:
    enough = patience(lambda x, *, y: x > y, 1)
    assert (enough(1, y=2), enough(2, y=1)) == (False, True)


@pytest.mark.parametrize("make", [patience, early_stopping, plateau])
def test_wrong_arguments_are_refused(make) -> None:
    with pytest.raises(ArgumentTypeError, match="must be a function, got 3"):
        make(3, 1)
    with pytest.raises(ArgumentValueError, match="wait must be a whole number of at least 1, got 0"):
        make(lambda: 1, 0)


@pytest.mark.parametrize("make", [early_stopping, plateau])
def test_wrong_distances_are_refused(make) -> None:
    with pytest.raises(ArgumentTypeError, match=r"distance is called with \((best|last), score\)"):
        make(lambda: 1, 1, distance=lambda score: score)
    with pytest.raises(ArgumentValueError, match="min_dist must be a number, got nan"):
        make(lambda: 1, 1, min_dist=math.nan)
