"""What a sanity check raises."""

from __future__ import annotations

from collections.abc import Sequence

from treadle.errors import TreadleError

from treadle_sanity.check import Failure


class SanityCheckException(TreadleError, ValueError):
    """Checks failed that must not fail; holds all of them, not only the first.

    Attributes:
        failures: A `Failure` each: the check, what it found, and the exception if one was raised.

    Source: FluxTraining.jl, `SanityCheckException`.
    """

    def __init__(self, failures: Sequence[Failure]) -> None:
        self.failures = tuple(failures)
        count = "1 sanity check" if len(self.failures) == 1 else f"{len(self.failures)} sanity checks"
        listing = "\n".join(f"{i}. {failure}" for i, failure in enumerate(self.failures, 1))
        super().__init__(f"{count} failed, so no step was made:\n{listing}")


class SkipCheck(Exception):
    """Raise it in the function of a `Check` that cannot tell here; its message says why."""
