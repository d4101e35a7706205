"""The annealing functions, from a start to an end as a fraction goes from 0 to 1; and `Stepper`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from treadle.authoring import function, real_number, whole_number
from treadle.errors import ArgumentTypeError

#: From a start, an end and a fraction to a value.
AnnealFunc = Callable[[Any, Any, float], Any]

EXAMPLE = "Stepper((0.0, 1.0), 100, annealing_cos)"


def annealing_no(start: Any, end: Any, pct: float) -> Any:
    """No annealing: always the start.

    Example:
        >>> annealing_no(1, 0, 0.25)
        1
    """
    return start


def annealing_linear(start: Any, end: Any, pct: float) -> Any:
    """Anneal linearly from start to end as pct goes from 0 to 1.

    Example:
        >>> annealing_linear(1, 0, 0.25)
        0.75
    """
    return start + pct * (end - start)


def annealing_exp(start: Any, end: Any, pct: float) -> Any:
    """Anneal exponentially from start to end as pct goes from 0 to 1; neither is 0.

    Example:
        >>> annealing_exp(1, 0.01, 0.5)
        0.1
    """
    return start * (end / start) ** pct


def annealing_cos(start: Any, end: Any, pct: float) -> Any:
    """Anneal along half a cosine from start to end as pct goes from 0 to 1.

    Example:
        >>> annealing_cos(1, 0, 0.5)
        0.5
    """
    return end + (start - end) / 2 * (math.cos(math.pi * pct) + 1)


def annealing_poly(degree: float) -> AnnealFunc:
    """A function that anneals along a polynomial of a degree from start to end as pct goes from 0 to 1.

    Example:
        >>> annealing_poly(2)(1, 0, 0.25)
        0.5625
    """
    degree = real_number(degree, "annealing_poly(degree)", "annealing_poly(2)", finite=True)

    def anneal(start: Any, end: Any, pct: float) -> Any:
        return end + (start - end) * (1 - pct) ** degree

    return anneal


class Stepper:
    """Walk from a start to an end in a number of steps, along an annealing function.

    The value of the first `step()` is the one after the start, and the value of the last one is the end. Steps beyond
    extrapolate, as far as the function can.

    Args:
        vals: The start and the end; or the start alone, and the end is 0. Each is a number, or what the function
            computes with, such as an array of one number for each layer group.
        n_iter: The number of steps; where it is below 1, there is one.
        func: The annealing function. Default: `annealing_linear` for a pair, `annealing_no` for a start alone.

    Raises:
        ArgumentTypeError: if an argument cannot be used.

    Example:
        >>> stepper = Stepper((1, 0), 4)
        >>> [stepper.step() for _ in range(4)], stepper.is_done
        ([0.75, 0.5, 0.25, 0.0], True)
    """

    def __init__(self, vals: Any, n_iter: int, func: AnnealFunc | None = None) -> None:
        is_pair = isinstance(vals, tuple | list)
        if is_pair and len(vals) != 2:
            raise ArgumentTypeError(
                f"Stepper(vals) must be a pair of start and end, or a start alone, got {vals!r}.\n"
                f"Fix: write, for example:\n    {EXAMPLE}"
            )
        ends: tuple[Any, Any] = tuple(vals) if is_pair else (vals, 0)
        self.start, self.end = ends
        self.n_iter = max(1, whole_number(n_iter, "Stepper(n_iter)", EXAMPLE))
        default = annealing_linear if is_pair else annealing_no
        takes = ["start", "end", "pct"]
        self.func: AnnealFunc = default if func is None else function(func, "Stepper(func)", EXAMPLE, takes=takes)
        self.n = 0

    def step(self) -> Any:
        """The next value."""
        self.n += 1
        return self.func(self.start, self.end, self.n / self.n_iter)

    @property
    def is_done(self) -> bool:
        """Whether all steps were made."""
        return self.n >= self.n_iter

    def restart(self) -> None:
        """Begin again at the start."""
        self.n = 0

    def state_dict(self) -> dict[str, Any]:
        """How many steps were made; what it walks along is passed again."""
        return {"n": self.n}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after as many steps."""
        self.n = state["n"]
