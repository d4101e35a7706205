"""What a sanity check raises."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.errors import TreadleError

from treadle_sanity.check import Failure


class SanityCheckException(TreadleError, ValueError):
    """Checks failed that must not fail; holds all of them, not only the first.

    Attributes:
        failures: A `Failure` each: the check, what it found, and the exception if one was raised.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_sanity import Check, SanityCheck
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
    """Raise it in the function of a `Check` that cannot tell here; its message says why.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_sanity import Check, SanityCheck
        >>> def is_long(learner):
        ...     if not hasattr(learner.data.training, "__len__"):
        ...         raise SkipCheck("the training data have no length")
        ...     return len(learner.data.training) > 100
        >>> check = Check(is_long, "An epoch is long", True, "Use toy_learner(nbatches=101).")
        >>> stream = iter(list(toy_learner(nbatches=2).data.training))
        >>> toy_learner(SanityCheck([check]), data=(stream,)).fit(1).steps  # left out, and so said in the log
        2
    """
