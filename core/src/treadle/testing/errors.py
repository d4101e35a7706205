"""What the tools of this package raise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from treadle.errors import TreadleError

if TYPE_CHECKING:
    from treadle.testing.changes import Change
    from treadle.testing.report import Report


class AuditError(TreadleError, AssertionError):
    """A handler changed state that its callback does not declare `Write`.

    Attributes:
        changes: What was changed, a `Change` each.
    """

    def __init__(self, message: str, changes: Sequence[Change] = ()) -> None:
        self.changes = tuple(changes)
        super().__init__(message)


class CallbackCheckError(TreadleError, AssertionError):
    """A callback does not keep what callbacks promise.

    Attributes:
        report: All checks with their outcomes.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(str(report))
