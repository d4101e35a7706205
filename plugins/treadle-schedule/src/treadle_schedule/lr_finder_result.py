"""`LRFinderResult`: the losses that `LRFinder` found, and the rules that suggest a learning rate from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from treadle import TreadleError
from treadle.authoring import did_you_mean

from treadle_schedule.schedule import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: A function of the learning rates, rising, and the smoothed losses at them, as long.
Rule: TypeAlias = Callable[[Sequence[float], Sequence[float]], float]

#: How many points at the end no rule looks at: there the loss has diverged.
LAST_POINTS = 5

#: The slide's width in points, and how much the slopes at its ends have to differ.
SLIDE_WIDTH, SLIDE_THRESHOLD = 15, 0.005


class LRFinderError(TreadleError, ValueError):
    """The learning rate finder cannot run, or has too few losses to suggest a learning rate."""


def minimum(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """A tenth of the learning rate with the lowest loss.

    Example:
        >>> minimum([0.01, 0.1, 1.0], [3.0, 1.0, 2.0])
        0.01
    """
    return lrs[losses.index(min(losses))] / 10


def steepest(lrs: Sequence[float], losses: Sequence[float]) -> float:
    """The learning rate at which the loss falls fastest, by the logarithm of the learning rate.

    Example:
        >>> steepest([0.01, 0.1, 1.0], [3.0, 2.9, 1.0])
        0.1
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
    """
    slopes = [
        (losses[after] - losses[before]) / (after - before)
        for before, after in ((max(i - 1, 0), min(i + 1, len(losses) - 1)) for i in range(len(losses)))
    ]
    left = rest = len(losses) - 1 - SLIDE_WIDTH
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


@dataclass(frozen=True, repr=False)
class LRFinderResult:
    """The losses at rising learning rates, and the learning rates that they suggest.

    Args:
        lrs, losses: The learning rate and the loss of each step.
        smoothed: The loss of each step, smoothed over those before it.
        num_it: How many steps the whole sweep would have taken.
        stopped: Why it ended.
        callbacks: The names of the callbacks that took part.
        left_out: The names of the learner's other callbacks, each with the reason.

    Example:
        >>> lrs = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
        >>> losses = (4.0, 3.0, 1.0, 2.0, 5.0, 5.0, 5.0, 5.0, 5.0)
        >>> result = LRFinderResult(lrs, losses, losses, num_it=9, stopped="all steps were made")
        >>> result
        LRFinderResult(9 steps, 1e-06 to 1e+02: all steps were made)
        >>> f"{result.suggestion('minimum'):.0e}"
        '1e-05'
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    num_it: int
    stopped: str
    callbacks: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict, hash=False)

    def suggestion(self, rule: str | Rule = "valley") -> float:
        """A learning rate to train with.

        The first tenth of the sweep and its last five points are left out.

        Args:
            rule: "minimum", a tenth of where the loss is lowest; "steepest", where it falls fastest;
                "valley", in the middle of the longest way down; "slide", before the loss begins to rise;
                or a function of the learning rates and the smoothed losses. Default: "valley".

        Raises:
            LRFinderError: if there is no such rule, or there are too few points for it, or the loss
                never falls.
        """
        if callable(rule):
            function, needed = rule, 2
        elif isinstance(rule, str) and rule in RULES:
            function, needed = RULES[rule]
        else:
            raise LRFinderError(
                f"There is no rule {rule!r}. {did_you_mean(str(rule), RULES)}\nFix: name a rule, or pass a function."
            )
        first = self.num_it // 10
        points = list(zip(self.lrs, self.smoothed, strict=True))[first:-LAST_POINTS]
        lrs = [lr for lr, loss in points if math.isfinite(loss)]
        losses = [loss for _, loss in points if math.isfinite(loss)]
        if len(losses) < needed:
            raise LRFinderError(
                f"The sweep stopped after {len(self.lrs)} steps ({self.stopped}). Without its first {first} and "
                f"last {LAST_POINTS}, {len(losses)} points are left, and the rule needs {needed}.\n"
                f"Fix: start lower or take smaller steps:\n    LRFinder(start=1e-9, num_it=300)"
            )
        if all(after >= before for before, after in pairwise(losses)):
            raise LRFinderError(
                f"The loss never falls between the learning rates {lrs[0]:.2g} and {lrs[-1]:.2g}, so none can be "
                f"suggested.\nFix: look at the picture and choose another start and end:\n    result.plot()"
            )
        return function(lrs, losses)

    def plot(self, *rules: str | Rule) -> Figure:
        """Draw the losses over the learning rate, with suggestions marked.

        Args:
            *rules: As in `suggestion`. Default: "valley", if it can suggest one.

        Raises:
            PlotError: if matplotlib is not installed.
            LRFinderError: if one of `rules` has nothing to suggest.
        """
        try:
            suggestions = [(rule, self.suggestion(rule)) for rule in rules or ("valley",)]
        except LRFinderError:
            if rules:
                raise
            suggestions = []
        figure, axes = new_figure()
        axes.plot(self.lrs, self.losses, color="0.8", linewidth=1, label="loss")
        axes.plot(self.lrs, self.smoothed, label="smoothed")
        for i, (rule, lr) in enumerate(suggestions):
            loss = self.smoothed[min(range(len(self.lrs)), key=lambda k: abs(math.log(self.lrs[k] / lr)))]
            name = rule if isinstance(rule, str) else getattr(rule, "__name__", repr(rule))
            axes.plot([lr], [loss], "o", color=f"C{i + 1}", label=f"{name}: {lr:.2e}")
        axes.set(xscale="log", xlabel="Learning rate", ylabel="Loss")
        if finite := [loss for loss in self.smoothed if math.isfinite(loss)]:
            margin = 0.1 * (max(finite) - min(finite)) or 1.0
            axes.set_ylim(min(finite) - margin, max(finite) + margin)
        axes.legend()
        return figure

    def __repr__(self) -> str:
        if not self.lrs:
            return f"LRFinderResult(no steps: {self.stopped})"
        return f"LRFinderResult({len(self.lrs)} steps, {self.lrs[0]:.2g} to {self.lrs[-1]:.2g}: {self.stopped})"
