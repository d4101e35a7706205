"""`LRFinderResult`: what a sweep of the learning rate found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from treadle.errors import did_you_mean

from treadle_schedule.errors import LRFinderError
from treadle_schedule.lr_suggestions import RULES, Rule
from treadle_schedule.plot import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: How many points at the end no rule looks at: there the training has gone to pieces.
LAST_POINTS = 5


@dataclass(frozen=True, repr=False)
class LRFinderResult:
    """The losses at rising learning rates, and the learning rates that they suggest.

    Args:
        lrs: The learning rate of each step.
        losses: The loss of each step.
        smoothed: The loss of each step, smoothed over those before it.
        num_it: How many steps the whole sweep would have taken.
        stopped: Why it ended.

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

        Source: fastai, `SuggestionMethod`.
        """
        if callable(rule):
            function, needed = rule, 2
        elif rule in RULES:
            function, needed = RULES[rule]
        else:
            raise LRFinderError(f"There is no rule {rule!r} to suggest by. {did_you_mean(rule, RULES)}")
        first = self.num_it // 10
        points = list(zip(self.lrs, self.smoothed, strict=True))[first:-LAST_POINTS]
        lrs = [lr for lr, loss in points if math.isfinite(loss)]
        losses = [loss for _, loss in points if math.isfinite(loss)]
        if len(losses) < needed:
            raise LRFinderError(
                f"The sweep stopped after {len(self.lrs)} steps ({self.stopped}). Without its first {first} and "
                f"last {LAST_POINTS}, {len(losses)} points are left, and the rule needs {needed}. Start lower or "
                f"take smaller steps: LRFinder(start=1e-9, num_it=300)"
            )
        if all(after >= before for before, after in pairwise(losses)):
            raise LRFinderError(
                f"The loss never falls between the learning rates {lrs[0]:.2g} and {lrs[-1]:.2g}, so none can be "
                f"suggested. Look at the picture, result.plot(), and choose another start and end."
            )
        return function(lrs, losses)

    def plot(self, *rules: str | Rule) -> Figure:
        """Draw the losses over the learning rate, with suggestions marked.

        Args:
            *rules: As in `suggestion`. Default: "valley", if it can suggest one.

        Raises:
            PlotError: if matplotlib is not installed.
            LRFinderError: if one of the rules given has nothing to suggest.
        """
        figure, axes = new_figure()
        axes.plot(self.lrs, self.losses, color="0.8", linewidth=1, label="loss")
        axes.plot(self.lrs, self.smoothed, label="smoothed")
        for i, (rule, lr) in enumerate(self._suggestions(rules)):
            loss = self.smoothed[min(range(len(self.lrs)), key=lambda k: abs(math.log(self.lrs[k] / lr)))]
            name = rule if isinstance(rule, str) else getattr(rule, "__name__", repr(rule))
            axes.plot([lr], [loss], "o", color=f"C{i + 1}", label=f"{name}: {lr:.2e}")
        axes.set(xscale="log", xlabel="Learning rate", ylabel="Loss")
        if finite := [loss for loss in self.smoothed if math.isfinite(loss)]:
            margin = 0.1 * (max(finite) - min(finite)) or 1.0
            axes.set_ylim(min(finite) - margin, max(finite) + margin)
        axes.legend()
        return figure

    def _suggestions(self, rules: tuple[str | Rule, ...]) -> list[tuple[str | Rule, float]]:
        if rules:
            return [(rule, self.suggestion(rule)) for rule in rules]
        try:
            return [("valley", self.suggestion("valley"))]
        except LRFinderError:
            return []

    def __repr__(self) -> str:
        if not self.lrs:
            return f"LRFinderResult(no steps: {self.stopped})"
        return f"LRFinderResult({len(self.lrs)} steps, {self.lrs[0]:.2g} to {self.lrs[-1]:.2g}: {self.stopped})"
