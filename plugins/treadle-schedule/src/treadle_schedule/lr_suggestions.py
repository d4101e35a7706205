"""Rules that suggest a learning rate from the losses of a sweep.

A rule is a function of the learning rates, rising, and the smoothed losses at them, as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

Rule: TypeAlias = Callable[[Sequence[float], Sequence[float]], float]

#: The slide's width in points, and how much the slopes at its ends have to differ.
SLIDE_WIDTH, SLIDE_THRESHOLD = 15, 0.005


def minimum(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """A tenth of the learning rate with the lowest loss.

    Example:
        >>> minimum([0.01, 0.1, 1.0], [3.0, 1.0, 2.0])
        0.01

    Source: fastai, `minimum`.
    """
    return lrs[losses.index(min(losses))] / 10


def steepest(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The learning rate at which the loss falls fastest, by the logarithm of the learning rate.

    Example:
        >>> steepest([0.01, 0.1, 1.0], [3.0, 2.9, 1.0])
        0.1

    Source: fastai, `steep`.
    """
    slopes = [
        (after - before) / math.log(lr_after / lr_before)
        for (before, after), (lr_before, lr_after) in zip(pairwise(losses), pairwise(lrs), strict=True)
    ]
    return lrs[slopes.index(min(slopes))]


def valley(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The learning rate in the middle of the longest way down: of the longest falling subsequence of losses.

    Example:
        >>> valley([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [9, 8, 7, 6, 5, 4, 8])
        3.0

    Source: fastai, `valley`.
    """
    lengths: list[int] = []  # of the longest falling subsequence that ends at each point
    for i, loss in enumerate(losses):
        lengths.append(1 + max((lengths[j] for j in range(i) if losses[j] > loss), default=0))
    length = max(lengths)
    start = lengths.index(length) - length
    return lrs[max(0, start + int(length / 3) + int(length / 6))]


def slide(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The learning rate where a window that slides down from the end comes to rest.

    The window goes on to lower learning rates while the slopes of the loss at its two ends differ;
    where they do not, the loss has not begun to rise.

    Example:
        >>> lrs = [float(i) for i in range(1, 31)]
        >>> slide(lrs, [1.0] * 20 + [1.0, 1.1, 1.3, 1.6, 2.0, 2.5, 3.1, 3.8, 4.6, 5.5])
        6.0

    Source: fastai, `slide`.
    """
    slopes = [
        (losses[after] - losses[before]) / (after - before)
        for before, after in ((max(i - 1, 0), min(i + 1, len(losses) - 1)) for i in range(len(losses)))
    ]
    left = len(losses) - 1 - SLIDE_WIDTH
    rest = left
    while left >= 0 and abs(slopes[left + SLIDE_WIDTH] - slopes[left]) > SLIDE_THRESHOLD:
        rest = left
        left -= 1
    return lrs[rest]


#: The rules by name, and how many points each of them needs.
RULES: dict[str, tuple[Rule, int]] = {
    "minimum": (minimum, 1),
    "steepest": (steepest, 2),
    "valley": (valley, 2),
    "slide": (slide, SLIDE_WIDTH + 1),
}
