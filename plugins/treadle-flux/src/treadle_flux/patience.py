"""`patience`, `early_stopping` and `plateau`: functions that say when it is enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from treadle.authoring import function, real_number, whole_number

EXAMPLE = "early_stopping(validation_loss, 3)"


def patience(predicate: Callable[..., bool], wait: int) -> Callable[..., bool]:
    """A function that is true once `predicate` was true in the last `wait` calls.

    Example:
        >>> losses = iter([3.0, 1.0, 2.0, 0.5, 2.0, 2.0])
        >>> enough = patience(lambda: next(losses) > 1, 2)
        >>> [enough() for _ in range(6)]
        [False, False, False, False, False, True]
    """
    function(predicate, "predicate", "patience(lambda: loss() > 1, 3)")
    wait, count = whole_number(wait, "wait", "patience(lambda: loss() > 1, 3)", least=1), 0

    def enough(*args: Any, **options: Any) -> bool:
        nonlocal count
        count = count + 1 if predicate(*args, **options) else 0
        return count >= wait

    return enough


def early_stopping(
    f: Callable[..., Any],
    delay: int,
    *,
    distance: Callable[[Any, Any], Any] = lambda best, score: best - score,
    init_score: Any = math.inf,
    min_dist: float = 0.0,
) -> Callable[..., bool]:
    """A function that is true once the score of `f` was not better than the best in the last `delay` calls.

    Args:
        f: Gives a score, which is better the smaller it is, such as a validation loss.
        delay: Calls in a row.
        distance: How much better a score is than the best; negative if it is worse. Default: `best - score`.
        init_score: The best score before the first call. Default: infinity.
        min_dist: A score whose distance is smaller counts as not better; one whose distance is 0 does not, unless
            `min_dist` is more. NaN counts as not better, and is never the best.

    Example:
        >>> losses = iter([1.0, 2.0, 3.0, 4.0])
        >>> enough = early_stopping(lambda: next(losses), 3)
        >>> [enough() for _ in range(4)]
        [False, False, False, True]
    """
    function(f, "f", EXAMPLE)
    function(distance, "distance", EXAMPLE, takes=["best", "score"])
    least, best = real_number(min_dist, "min_dist", EXAMPLE), init_score

    def not_better(*args: Any, **options: Any) -> bool:
        nonlocal best
        score = number(f(*args, **options))
        gain = distance(best, score)
        if gain >= 0:
            best = score
        return not gain >= least

    return patience(not_better, delay)


def plateau(
    f: Callable[..., Any],
    width: int,
    *,
    distance: Callable[[Any, Any], Any] = lambda last, score: abs(last - score),
    init_score: Any = math.inf,
    min_dist: float = 1e-6,
) -> Callable[..., bool]:
    """A function that is true once the score of `f` was close to the one before it in the last `width` calls.

    Args:
        f: Gives a score.
        width: Calls in a row.
        distance: How far a score is from the one before it. Default: `abs(last - score)`.
        init_score: What the first score is compared with. Default: infinity.
        min_dist: A score whose distance is smaller is close; NaN is close to none.

    Example:
        >>> losses = iter([3.0, 2.0, 1.0, 1.0, 1.0])
        >>> flat = plateau(lambda: next(losses), 2)
        >>> [flat() for _ in range(5)]
        [False, False, False, False, True]
    """
    example = "plateau(validation_loss, 3)"
    function(f, "f", example)
    function(distance, "distance", example, takes=["last", "score"])
    least, last = real_number(min_dist, "min_dist", example), init_score

    def is_close(*args: Any, **options: Any) -> bool:
        nonlocal last
        score = number(f(*args, **options))
        far, last = distance(last, score), score
        return bool(far < least)

    return patience(is_close, width)


def number(score: Any) -> Any:
    """A score without what it was computed from."""
    return score.item() if isinstance(score, torch.Tensor) and score.numel() == 1 else score
