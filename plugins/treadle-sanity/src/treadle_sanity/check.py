"""`Check`: one thing that has to hold before training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from treadle.errors import ArgumentTypeError


@dataclass(frozen=True)
class Check:
    """One thing that has to hold before training.

    Args:
        fn: Called with the learner. True: it holds. False: it does not. A text: it does not, and this
            was found. An exception counts as False; `SkipCheck` says that it cannot be told here.
        name: What has to hold, as a short sentence.
        throw_error: Whether a failure ends the training with a `SanityCheckException`; otherwise it
            is a warning.
        message: What to do about a failure.
        supervised: Whether `fn` looks at what `TrainingPhase` does with a batch; then it is left out
            for phases that step in another way. Default: False.

    Raises:
        ArgumentTypeError: if `fn` cannot be called, or `name` or `message` is no text.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_sanity import SanityCheck
        >>> small = Check(lambda learner: len(learner.data.training) <= 10, "The data are few", True,
        ...               "Train with toy_learner(nbatches=10).")
        >>> toy_learner(SanityCheck([small])).fit(1)
        Traceback (most recent call last):
        ...
        treadle_sanity.errors.SanityCheckException: 1 sanity check failed, so no step was made:
        1. The data are few: that is not so.
            Fix: Train with toy_learner(nbatches=10).
        ...
    """

    fn: Callable[[Any], bool | str]
    name: str
    throw_error: bool
    message: str
    supervised: bool = False

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise ArgumentTypeError(
                f"A Check needs a function of the learner, got {self.fn!r}: Check(lambda learner: True, ...)"
            )
        for field in ("name", "message"):
            if not isinstance(getattr(self, field), str):
                raise ArgumentTypeError(f"A Check's {field} is a text, got {getattr(self, field)!r}.")


@dataclass(frozen=True)
class Failure:
    """A check that failed.

    Args:
        check: The check.
        found: What it found.
        error: The exception that its function raised. Default: none.
    """

    check: Check
    found: str
    error: Exception | None = None

    def __str__(self) -> str:
        return f"{self.check.name}: {self.found}\n    Fix: {self.check.message}"
