"""`throttle`: call a function no more often than every so many seconds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from time import monotonic
from typing import Any

from treadle.authoring import function, instance_of, real_number

EXAMPLE = "throttle(lambda: print('training'), 10)"


def throttle(f: Callable[..., Any], timeout: float, leading: bool = True, trailing: bool = False) -> Throttled:
    """A function that calls `f` at most once in `timeout` seconds.

    A call begins a window, and calls inside of it return what `f` returned last. When a window has ended in which a
    call was kept, that call is made, and another window begins. Nothing runs in the background: that is noticed by
    the next call, before it is looked at itself, or by the method `flush`.

    Args:
        timeout: Seconds from the end of a call of `f`.
        leading: Whether the call that begins a window is made at once, or kept until its end. Default: at once.
        trailing: Whether the last call inside of a window is kept until its end. Default: it is dropped.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `f` is not a function or `timeout` not a number of seconds.

    Example:
        >>> hello = throttle(lambda: print("training"), 10)
        >>> for _ in range(1000):
        ...     hello()
        training
    """
    return Throttled(
        function(f, "f", EXAMPLE),
        real_number(timeout, "timeout", EXAMPLE, least=0),
        leading=instance_of(leading, "leading", bool, EXAMPLE),
        trailing=instance_of(trailing, "trailing", bool, EXAMPLE),
    )


class Throttled:
    """What `throttle` returns."""

    def __init__(self, f: Callable[..., Any], timeout: float, *, leading: bool, trailing: bool) -> None:
        self.f, self.timeout, self.leading, self.trailing = f, timeout, leading, trailing
        self._kept: Callable[[], Any] | None = None
        self._ends: float | None = None  # the window; None outside of one
        self._result: Any = None

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the function, or not, and return what it returned last."""
        self._end_window()
        call = functools.partial(self.f, *args, **options)
        if self._ends is None:
            if self.leading:
                self._result = call()
            else:
                self._kept = call
            self._ends = monotonic() + self.timeout
        elif self.trailing:
            self._kept = call
        return self._result

    def flush(self) -> Any:
        """Make the call that was kept, if there is one, now; at the end of a training, for instance.

        Example:
            >>> report = throttle(print, 10, trailing=True)
            >>> for i in range(5):
            ...     report(i)
            0
            >>> report.flush()
            4
        """
        kept, self._kept = self._kept, None
        if kept is not None:
            self._ends = None
            self._result = kept()
            self._ends = monotonic() + self.timeout
        return self._result

    def _end_window(self) -> None:
        if self._ends is None or monotonic() < self._ends:
            return
        if self._kept is None:
            self._ends = None
        else:
            self.flush()
            self._end_window()
