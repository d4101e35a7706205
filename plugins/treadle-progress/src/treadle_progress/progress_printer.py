"""`ProgressPrinter`: a progress bar for each epoch."""

from __future__ import annotations

import sys
from typing import IO, Any

from treadle import Callback, Phase, Read
from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_progress.bar import Bar


class ProgressPrinter(Callback):
    """Show a progress bar for each epoch, with the number of the epoch and the loss.

    Works in terminals and notebooks and is quiet elsewhere, as in a log file, unless it is asked to
    show. The bar is refreshed by the clock and never waits for a device: a loss on an accelerator is
    shown when a copy of it has arrived. It ends at the number of batches if the data know it, and is
    removed when the epoch ends, however it does. One of the default callbacks.

    Args:
        show: Whether to show the bar. Default: where the output is a terminal or a notebook, and where
            a `file` other than a standard stream is given.
        file: Where to write. Default: standard error.
        mininterval: So many seconds pass at least between two refreshes. Default: 0.1.
        loss: Whether to show the loss. Default: True.
        leave: Whether a bar stays after its epoch. Default: False.

    Reads: `data`, and with `loss` also `step.loss`.

    Raises:
        ArgumentTypeError: if `file` cannot be written to or `mininterval` is no number.
        ArgumentValueError: if `mininterval` is negative.

    Example:
        >>> import io
        >>> from treadle import toy_learner
        >>> file = io.StringIO()
        >>> _ = toy_learner(ProgressPrinter(file=file, mininterval=0)).fit(1)
        >>> "Epoch 1 TrainingPhase:  50%" in file.getvalue()
        True
    """

    state_access = {"data": Read, "step.loss": Read}
    optional_state = True  # a run may be resumed with or without it

    def __init__(
        self,
        *,
        show: bool | None = None,
        file: IO[str] | None = None,
        mininterval: float = 0.1,
        loss: bool = True,
        leave: bool = False,
    ) -> None:
        if file is not None and not callable(getattr(file, "write", None)):
            raise ArgumentTypeError(f"file is something to write to, got {file!r}: ProgressPrinter(file=sys.stdout)")
        if isinstance(mininterval, bool) or not isinstance(mininterval, (int, float)):
            raise ArgumentTypeError(f"mininterval is a number of seconds, got {mininterval!r}: mininterval=0.1")
        if not mininterval >= 0:
            raise ArgumentValueError(f"mininterval is 0 seconds or more, got {mininterval}: mininterval=0.1")
        self.show, self.file, self.mininterval, self.loss, self.leave = show, file, mininterval, loss, leave
        if not loss:
            self.state_access = {"data": Read}
        self._ended: dict[str, int] = {}
        self._bars: list[tuple[Phase, Bar]] = []  # an epoch may run inside of another one

    def on_epoch_begin(self, learner: Any, phase: Phase) -> None:
        self._close(phase)  # of an epoch that nobody told us the end of
        title = f"Epoch {self._ended.get(label(phase), 0) + 1} {label(phase)}"
        name = phase.data_name
        bar = Bar(
            title,
            None if name is None else learner.data.get(name),
            disable=self._disable(),
            file=self.file,
            mininterval=self.mininterval,
            leave=self.leave,
        )
        if bar.shown:
            self._bars.append((phase, bar))

    def on_step_end(self, learner: Any, phase: Phase) -> None:
        if self._bars:
            own, bar = self._bars[-1]
            if phase == own and bar.advance(learner.progress.step):
                bar.refresh(self._loss(learner) if self.loss else None)

    def on_epoch_end(self, phase: Phase) -> None:
        self._ended[label(phase)] = self._ended.get(label(phase), 0) + 1
        self._close(phase)

    def on_fit_end(self) -> None:
        if self._bars:
            self._close(self._bars[0][0])

    def _disable(self) -> bool | None:
        if self.show is None:
            return None if self.file in (None, sys.stdout, sys.stderr) else False
        return not self.show

    @staticmethod
    def _loss(learner: Any) -> Any:
        try:
            return learner.step.loss
        except AttributeError:  # a phase that names its losses differently
            return None

    def _close(self, phase: Phase) -> None:
        """Close the bar of a phase, if it has one, and those inside of it."""
        if any(own == phase for own, _ in self._bars):
            own = None
            while own != phase:
                own, bar = self._bars.pop()
                bar.close()

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": dict(self._ended)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._ended = dict(state["epochs"])


def label(phase: Phase) -> str:
    """A phase as people read it: the type's name, and the fields if it has any."""
    return repr(phase) if vars(phase) else type(phase).__name__
