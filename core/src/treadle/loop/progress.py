"""`Progress`, `FitResult` and `ReportedError`: how far a learner has come, and how a fit went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from treadle.arguments import html_table
from treadle.errors import CancelFittingException

if TYPE_CHECKING:
    from treadle.callback import Callback
    from treadle.phases import Phase


class Progress:
    """How far a learner has come. Only the loop writes it; every callback may read it.

    What ends is counted before its end event is dispatched. All counts are 0 before the first.

    Attributes:
        phase: The phase that is under way, or None.
        epoch: Number of the training epoch under way or, after it, of the last one.
        step: Number of the step under way in its epoch.
        epochs: Training epochs that are done, in all.
        steps: Training steps that are done, in all.
        updates: Updates of the parameters that are done, in all.
        accumulated: Batches in the gradients of the update under way; 0 after it, or when they are dropped.

    Example:
        >>> from treadle import CustomCallback, EpochEnd, TrainingPhase, toy_learner
        >>> show = CustomCallback(lambda learner: print(learner.progress), EpochEnd, TrainingPhase)
        >>> result = toy_learner(show, nbatches=4).fit(2)
        Progress(phase=TrainingPhase(), epoch=1, step=4, epochs=1, steps=4, updates=4, accumulated=0)
        Progress(phase=TrainingPhase(), epoch=2, step=4, epochs=2, steps=8, updates=8, accumulated=0)
    """

    __slots__ = ("accumulated", "epoch", "epochs", "phase", "step", "steps", "updates")

    def __init__(self) -> None:
        self.phase: Phase | None = None
        self.epoch = self.step = self.epochs = self.steps = self.updates = self.accumulated = 0

    def __repr__(self) -> str:
        names = ("phase", "epoch", "step", "epochs", "steps", "updates", "accumulated")
        return f"Progress({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


@dataclass(eq=False)
class ReportedError:
    """The errors of one handler of an observer, which ended no fit; see `Learner(..., observer_errors="warn")`.

    Args:
        callback: The observer.
        hook: The name of the handler, such as "on_step_end".
        error: The first of them, with its note and without its traceback, which was logged.
        count: How many there were.
        left_out: Whether the callback was left out of the rest of the fit, since it had failed too often.
    """

    callback: Callback
    hook: str
    error: Exception
    count: int = 1
    left_out: bool = False


class ObserverErrors:
    """What was reported of observers in one fit.

    Attributes:
        reports: The errors, by callback and hook.
        left_out: The callbacks that have failed too often.
    """

    __slots__ = ("left_out", "reports")

    def __init__(self) -> None:
        self.reports: dict[tuple[Callback, str], ReportedError] = {}
        self.left_out: set[Callback] = set()

    def sorted(self) -> tuple[ReportedError, ...]:
        """The errors, by the names of callbacks and handlers."""
        return tuple(sorted(self.reports.values(), key=lambda report: (report.callback.name, report.hook)))

    def warn_of_counts(self) -> None:
        """At the end of a fit: report how often those failed that were not left out."""
        often = [report for report in self.sorted() if report.count > 1 and not report.left_out]
        if often:
            from loguru import logger  # needed rarely, and loaded then

            for report in often:
                logger.warning(f"{report.callback.name} failed {report.count} times in {report.hook} in this fit.")


@dataclass(frozen=True)
class FitResult:
    """How a fit went. A fit that a callback cancelled is not an error.

    Args:
        epochs: Training epochs that ran to their end.
        steps: Training steps that did.
        cancelled: None, or the `CancelFittingException` with its message and, as `callback`, the
            callback that raised it.
        observer_errors: With `Learner(..., observer_errors="warn")`, a `ReportedError` for each handler that failed.

    Example:
        >>> from treadle import toy_learner
        >>> result = toy_learner(nbatches=4).fit(3)
        >>> result.epochs, result.steps, result.cancelled
        (3, 12, None)
    """

    epochs: int
    steps: int
    cancelled: CancelFittingException | None = None
    observer_errors: tuple[ReportedError, ...] = ()

    def __repr__(self) -> str:
        """As it is written; `observer_errors` only where there are some."""
        errors = f", observer_errors={self.observer_errors}" if self.observer_errors else ""
        return f"FitResult(epochs={self.epochs}, steps={self.steps}, cancelled={self.cancelled!r}{errors})"

    def _repr_html_(self) -> str:
        """As a table, for notebooks."""
        cancelled: object = self.cancelled
        if self.cancelled is not None:
            by = self.cancelled.callback
            name = type(self.cancelled).__name__
            cancelled = f"{str(self.cancelled) or name}{f' (by {by.name})' if by is not None else ''}"
        shown = html_table(["epochs", "steps", "cancelled"], [(self.epochs, self.steps, cancelled)])
        if self.observer_errors:
            rows = [
                (
                    report.callback.name,
                    report.hook,
                    repr(report.error),
                    report.count,
                    "yes" if report.left_out else "no",
                )
                for report in self.observer_errors
            ]
            shown += html_table(["observer", "handler", "error", "times", "left out"], rows)
        return shown
