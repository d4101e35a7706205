"""`Check`: one thing that has to hold before training, and what is raised if it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import indent
from typing import Any

from treadle.authoring import function, instance_of
from treadle.errors import TreadleError

EXAMPLE = 'Check(lambda learner: True, "It holds", True, "What to do if not.")'


@dataclass(frozen=True)
class Check:
    """One thing that has to hold before training.

    Args:
        fn: Called with the learner; returns True if it holds, False or a text with what was found if it
            does not. An exception counts as False; `SkipCheck` says that it cannot be checked here.
        name: What has to hold, as a short sentence.
        throw_error: Whether a failure ends the training with a `SanityCheckException`; otherwise it
            is a warning.
        message: What to do about a failure; code on a line of its own, indented by four spaces.
        supervised: Whether `fn` looks at what `TrainingPhase` does with a batch; then it is left out
            for phases that step in another way. Default: False.

    Raises:
        ArgumentTypeError: if `fn` cannot be called, `name` or `message` is not a text, or one of the others is
            neither True nor False.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_sanity import SanityCheck
        >>> small = Check(lambda learner: len(learner.data.training) <= 10, "The data are few", True,
        ...               "Take ten batches: toy_learner(nbatches=10).")
        >>> toy_learner(SanityCheck([small])).fit(1)
        Traceback (most recent call last):
        ...
        treadle_sanity.check.SanityCheckException: 1 sanity check failed, so no step was made:
        1. The data are few: the check returned False.
            Fix: Take ten batches: toy_learner(nbatches=10).
        ...
    """

    fn: Callable[[Any], bool | str]
    name: str
    throw_error: bool
    message: str
    supervised: bool = False

    def __post_init__(self) -> None:
        function(self.fn, "Check(fn)", EXAMPLE)
        instance_of(self.name, "Check(name)", str, EXAMPLE)
        instance_of(self.throw_error, "Check(throw_error)", bool, EXAMPLE)
        instance_of(self.message, "Check(message)", str, EXAMPLE)
        instance_of(self.supervised, "Check(supervised)", bool, EXAMPLE)


@dataclass(frozen=True)
class Failure:
    """A check that failed, what it found, and the exception that its function raised, if it did."""

    check: Check
    found: str
    error: Exception | None = None

    def __str__(self) -> str:
        return f"{self.check.name}: {self.found}\n{indent(f'Fix: {self.check.message}', '    ')}"


class SanityCheckException(TreadleError, ValueError):
    """Checks failed that must not fail; holds all of them, not only the first.

    Attributes:
        failures: For each a `Failure`: the check, what it found, and the exception if one was raised.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_sanity import SanityCheck
        >>> few = Check(lambda learner: "they are many.", "The data are few", True, "Take fewer.")
        >>> at_3 = Check(lambda learner: "it is 0.", "The weight is 3", True, "Set it.")
        >>> try:
        ...     toy_learner(SanityCheck([few, at_3])).fit(1)
        ... except SanityCheckException as error:
        ...     print([failure.check.name for failure in error.failures])
        ['The data are few', 'The weight is 3']
    """

    def __init__(self, failures: Sequence[Failure]) -> None:
        self.failures = tuple(failures)
        count = "1 sanity check" if len(self.failures) == 1 else f"{len(self.failures)} sanity checks"
        listing = "\n".join(f"{i}. {failure}" for i, failure in enumerate(self.failures, 1))
        super().__init__(f"{count} failed, so no step was made:\n{listing}")


class SkipCheck(Exception):
    """Raise it in the function of a `Check` that cannot be checked here; the message says why.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_sanity import SanityCheck
        >>> def is_long(learner):
        ...     if not hasattr(learner.data.training, "__len__"):
        ...         raise SkipCheck("the training data have no length")
        ...     return len(learner.data.training) > 100
        >>> check = Check(is_long, "An epoch is long", True, "Use toy_learner(nbatches=101).")
        >>> stream = iter(list(toy_learner(nbatches=2).data.training))
        >>> toy_learner(SanityCheck([check]), data=(stream,)).fit(1).steps  # skipped, with a warning
        2
    """
