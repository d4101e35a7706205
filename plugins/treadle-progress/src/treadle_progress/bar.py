"""`Bar`: tqdm's progress bar for the terminal or the notebook, refreshed by the clock alone."""

from __future__ import annotations

from collections.abc import Sized
from time import monotonic
from typing import IO, Any

import tqdm.auto

from treadle_progress.late_number import LateNumber


class QuietTqdm(tqdm.auto.tqdm):  # type: ignore[type-arg]
    """tqdm's bar without the thread that watches over bars; here the clock is asked at every step."""

    monitor_interval = 0


class Bar:
    """The bar of one epoch.

    Args:
        title: What stands before it.
        data: What the epoch runs over; its length, if it has one, is where the bar ends.
        disable: Whether it is not shown; None leaves that to tqdm, which shows it in terminals and notebooks.
        file: Where it is written. Default: standard error.
        mininterval: So many seconds pass between two refreshes.
        leave: Whether it stays after its end.
    """

    __slots__ = ("_bar", "_due", "_interval", "_loss", "_steps")

    def __init__(
        self, title: str, data: Any, *, disable: bool | None, file: IO[str] | None, mininterval: float, leave: bool
    ) -> None:
        self._bar = QuietTqdm(
            desc=title,
            total=length(data),
            disable=disable,
            file=file,
            mininterval=0,
            miniters=1,
            leave=leave,
            unit="step",
            dynamic_ncols=True,
        )
        self._interval = mininterval
        self._due = monotonic() + mininterval
        self._steps = 0
        self._loss = LateNumber()

    @property
    def shown(self) -> bool:
        """Whether it is shown."""
        return not self._bar.disable

    def advance(self, steps: int) -> bool:
        """Take how many steps of the epoch were made. Whether the time has come to refresh the bar."""
        self._steps = steps
        return monotonic() >= self._due

    def refresh(self, loss: Any = None) -> None:
        """Show how far the epoch has come, and a loss, which may be a tensor on a device."""
        if loss is not None:
            self._loss.offer(loss)
            if self._loss.value is not None:
                self._bar.set_postfix_str(f"loss {self._loss.value:.4g}", refresh=False)
        self._bar.update(self._steps - self._bar.n)
        self._due = monotonic() + self._interval

    def close(self) -> None:
        """Remove the bar, or leave it at what it came to."""
        if self._bar.leave:  # what is removed need not be drawn once more
            self.refresh()
        self._bar.close()


def length(data: Any) -> int | None:
    """The number of batches, or None if the data do not know it."""
    try:
        return len(data) if isinstance(data, Sized) else None
    except (TypeError, NotImplementedError):  # a DataLoader over an iterable data set has a length only in name
        return None
