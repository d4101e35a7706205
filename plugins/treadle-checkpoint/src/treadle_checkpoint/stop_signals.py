"""`StopSignals`: a signal that asks the process to end, kept until the run is saved."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

from treadle import CancelFittingException
from treadle.authoring import list_of
from treadle.errors import ArgumentValueError


class StopSignals:
    """Listens for signals while a fit runs. Their handler sets a flag: a signal may come in the middle of anything.

    Only the main thread can listen. A handler that was not made in Python is left alone, and one that was is called
    when it is back in its place, after the run was saved. A signal that comes again is the same one.

    Args:
        signals: Which.

    Attributes:
        received: The signal that came, until the next fit begins; or None.
        cancel: What ends the fit for it, once it was asked for.
    """

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self.signals = tuple(signals)
        self.received: signal.Signals | None = None
        self.cancel: CancelFittingException | None = None
        self._position: Any = None  # of the learner whose fit it is
        self._before: dict[int, Any] = {}  # the handlers that there were
        self._listening = False

    def begin(self, position: Any) -> None:
        """A fit begins."""
        self._position, self.received, self.cancel, self._listening = position, None, None, False
        self.listen()

    @property
    def in_fit(self) -> bool:
        """Whether a fit is under way; its end may not have been dispatched, if an interrupt came as it began."""
        return self._position is not None and self._position.length is not None

    def listen(self) -> None:
        """Listen from now on, in a fit that may have begun in another thread."""
        if self._listening or not self.in_fit or current_thread() is not main_thread():
            return
        self._listening = True
        for number in self.signals:
            before = signal.getsignal(number)
            if before is not None and before != self._handle:
                self._before[number] = before
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.in_fit:
            self.received = self.received or signal.Signals(number)
            if (other := listener(self._before.get(number))) is not None and other.in_fit:
                other._handle(number, frame)
        else:  # it is still here, or somebody put it back, after the fit
            signal.signal(number, self._before.get(number, signal.SIG_DFL))
            signal.raise_signal(number)

    def ask(self, received: int | None = None) -> None:
        """End the fit if a signal came, once.

        Args:
            received: The number of the one that another process received, or 0. Default: what came here.

        Raises:
            CancelFittingException: naming the signal.
        """
        if received:
            self.received = self.received or signal.Signals(received)
        if self.received is not None and self.cancel is None:
            self.cancel = CancelFittingException(f"Received {self.received.name}.")
            raise self.cancel

    def end(self) -> None:
        """A fit has ended: the handlers that there were are there again, and one of the user's hears of the signal."""
        self._position = None
        if current_thread() is not main_thread():
            return
        numbers = [number for number in self._before if signal.getsignal(number) == self._handle]
        for number in numbers:
            before = self._before[number]
            while (other := listener(before)) is not None and not other.in_fit:
                before = other._before.get(number, signal.SIG_DFL)
            signal.signal(number, before)
        if self.received in numbers and is_of_the_user(signal.getsignal(self.received)):
            signal.raise_signal(self.received)


def listener(handler: Any) -> StopSignals | None:
    """Whose handler it is, if it is one of this class."""
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, StopSignals) else None


def is_of_the_user(handler: Any) -> bool:
    """Whether somebody made it, who wants to hear of a signal."""
    return callable(handler) and handler is not signal.default_int_handler and listener(handler) is None


def checked_signals(signals: object) -> tuple[signal.Signals, ...]:
    """Signals by their numbers.

    Raises:
        ArgumentTypeError, ArgumentValueError: if one is none, or cannot be listened for.
    """
    example = "Checkpointer(folder, save_on_signal=[signal.SIGTERM, signal.SIGUSR1])"
    numbers = list_of(signals, "save_on_signal", int, example)
    for number in numbers:
        kept = {getattr(signal, name, None) for name in ("SIGKILL", "SIGSTOP")}
        if number not in {*signal.Signals} - kept:
            raise ArgumentValueError(
                f"save_on_signal has {number!r}, which is not a signal that a process can listen for.\n"
                f"Fix: write, for example:\n    {example}"
            )
    return tuple(signal.Signals(number) for number in numbers)
