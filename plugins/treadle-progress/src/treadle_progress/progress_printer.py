"""`ProgressPrinter`: a progress bar for each epoch."""

from __future__ import annotations

import io
import sys
from collections import Counter
from html import escape
from time import monotonic
from typing import IO, Any

from tqdm import tqdm
from treadle import Callback, EvaluationPhase, Phase, PredictionPhase, Read
from treadle.authoring import DeviceNumber, length_of, one_of, phase_label, position_of, real_number, writable

from treadle_progress.notebook import Shown, in_notebook


class ProgressPrinter(Callback):
    """Show a progress bar for each epoch, with the number of the epoch and the loss.

    Works in terminals and notebooks, which need no ipywidgets, and is quiet elsewhere, as in a log file, unless `show`
    is set.
    The bar is refreshed by the clock and never waits for a device: a loss on an accelerator is
    shown when a copy of it has arrived. It ends at the number of batches if the data know it, and in a fit by steps at
    the number of steps that are left; it is removed when the epoch ends, however it does. One of the default callbacks.

    Args:
        show: Whether to show the bar. Default: where the output is a terminal or a notebook, and where
            a `file` other than a standard stream is given.
        file: Where to write. Default: standard error.
        mininterval: The minimum number of seconds between two refreshes.
        loss: Whether to show the loss.
        leave: Whether a bar stays after its epoch.

    Reads: `data`, and with `loss` also `step.loss`.

    Raises:
        ArgumentTypeError: if `file` cannot be written to or `mininterval` is not a number.
        ArgumentValueError: if `mininterval` is negative, `file` closed, or a switch neither on nor off.

    Example:
        >>> import io
        >>> from treadle import toy_learner
        >>> file = io.StringIO()
        >>> _ = toy_learner(ProgressPrinter(file=file, mininterval=0)).fit(1)
        >>> "Epoch 1 TrainingPhase:  50%" in file.getvalue()
        True
    """

    main_process_only = True
    state_access = {"data": Read, "step.loss": Read}
    optional_state = True

    def __init__(
        self,
        *,
        show: bool | None = None,
        file: IO[str] | None = None,
        mininterval: float = 0.1,
        loss: bool = True,
        leave: bool = False,
    ) -> None:
        if file is not None:
            writable(file, "file", "ProgressPrinter(file=sys.stdout)")
        one_of(show, "ProgressPrinter(show)", (True, False, None))
        for name, value in (("loss", loss), ("leave", leave)):
            one_of(value, f"ProgressPrinter({name})", (True, False))
        self.mininterval = real_number(mininterval, "mininterval", "ProgressPrinter(mininterval=0.1)", least=0)
        self.show, self.file, self.loss, self.leave = show, file, loss, leave
        if not loss:
            self.state_access = {"data": Read}
        self._ended: Counter[str] = Counter()  # epochs, by the phase's label
        self._bars: list[tuple[Phase, Bar]] = []  # an epoch may run inside of another one
        self._cells: list[Shown] = []  # where a notebook shows them, those of all epochs in the same places

    def on_epoch_begin(self, learner: Any, phase: Phase | EvaluationPhase | PredictionPhase) -> None:
        position = position_of(learner)
        nested = position.nested
        if not nested or len(position.levels) == 1:
            self._close()  # those of epochs whose ends were not dispatched
        title = phase_label(phase)
        if phase.observed:
            title = f"Epoch {self._ended[title] + 1} {title}"
        data = None if phase.data_name is None else learner.data.get(phase.data_name)
        disable = None if self.show is None else not self.show  # None: tqdm shows it in terminals
        file, cell = self.file, None
        if self.show is None and (file not in (None, sys.stdout, sys.stderr) or in_notebook()):
            disable = False
        if file is None and in_notebook():
            file, cell = io.StringIO(), self._cell()
        total = total_of(learner, phase, data)
        bar = Bar(title, total, self.mininterval, cell, disable=disable, file=file, leave=self.leave)
        bar.nested = nested
        if not bar.disable:
            self._bars.append((phase, bar))

    def on_step_end(self, learner: Any, phase: Phase | EvaluationPhase | PredictionPhase) -> None:
        if self._bars:
            innermost, bar = self._bars[-1]
            if phase is innermost or phase == innermost:  # the first test is the faster one
                bar.steps = learner.progress.step
                # A step inside of another one, by `learner.loop.step`, is none of the epoch's.
                if monotonic() >= bar.due and position_of(learner).nested is bar.nested:
                    bar.show(learner.step.get("loss") if self.loss else None)

    def on_epoch_end(self, learner: Any, phase: Phase | EvaluationPhase | PredictionPhase) -> None:
        if phase.observed:
            self._ended[phase_label(phase)] += 1
        if self._bars and self._bars[-1][0] == phase:
            self._bars[-1][1].steps = learner.progress.step
        self._close(phase)

    def on_fit_end(self) -> None:
        self._close()

    def _cell(self) -> Shown:
        """Where a notebook shows the next bar. One that stays has a place of its own."""
        if self.leave:
            return Shown()
        if len(self._cells) <= len(self._bars):
            self._cells.append(Shown())
        return self._cells[len(self._bars)]

    def _close(self, phase: Phase | None = None) -> None:
        """Close the bar of a phase, if it has one, and those inside of it; without a phase, all of them."""
        if phase is None or any(outer == phase for outer, _ in self._bars):
            closed = None
            while self._bars and (closed is None or closed != phase):
                closed, bar = self._bars.pop()
                bar.close()

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": dict(self._ended)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._ended = Counter(state["epochs"])


class Bar(tqdm):  # type: ignore[type-arg]
    """tqdm's bar of one epoch, refreshed by the clock. It ends at the length of the data, if they have one.

    Args:
        cell: Where a notebook shows it. Default: not in a notebook.

    Attributes:
        steps: The number of steps of the epoch so far.
        due: When to show them, by `time.monotonic`.
        nested: Whether its epoch is inside of another epoch or step.
    """

    disable, leave = True, False  # until tqdm has set them: an interrupt may come before

    monitor_interval = 0  # without the thread that monitors bars

    def __init__(
        self, title: str, total: int | None, interval: float, cell: Shown | None = None, **options: Any
    ) -> None:
        self._cell = cell
        super().__init__(desc=title, total=total, mininterval=0, miniters=1, unit="step", dynamic_ncols=True, **options)
        self._interval = interval
        self.due = monotonic() + interval
        self.steps, self.nested = 0, False
        self._loss: DeviceNumber | None = None

    def show(self, loss: Any = None) -> None:
        """Show how far the epoch has come, and the newest loss that has arrived from its device."""
        if loss is not None and (self._loss is None or self._loss.arrived):
            previous, self._loss = self._loss, DeviceNumber(loss)
            arrived = self._loss if self._loss.arrived else previous
            if arrived is not None:
                self.set_postfix_str(f"loss {arrived.value:.4g}", refresh=False)
        self.update(self.steps - self.n)
        self.due = monotonic() + self._interval

    def display(self, msg: str | None = None, pos: int | None = None) -> Any:
        """Draw the bar, or `msg` in its place."""
        if self._cell is None:
            return super().display(msg, pos)
        text = str(self) if msg is None else msg
        length = f' max="{self.total}"' if self.total else ""
        bar = f'<progress value="{self.n}"{length}></progress> ' if text and self.total else ""
        self._cell.show({"text/html": f"{bar}<code>{escape(text)}</code>" if text else "", "text/plain": text})
        return True

    def close(self) -> None:
        """Remove the bar, or leave it where the epoch ended."""
        if self.leave and not self.disable:  # what is removed need not be drawn once more
            self.show()
        super().close()


def total_of(learner: Any, phase: Phase, data: Any) -> int | None:
    """How many steps an epoch has, if it is known: as many as its data, or as are left of a fit by steps."""
    position = position_of(learner)
    total, fit = length_of(position.processes.share(learner, phase, data)), position.own
    if fit is None or fit.steps is None or not phase.training or position.resumption is not None:
        return total
    left: int = fit.began + fit.steps - learner.progress.steps
    return left if total is None else min(left, total)
