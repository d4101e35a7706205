"""`Every`: which steps a callback logs at."""

from __future__ import annotations

from treadle.errors import ArgumentTypeError, ArgumentValueError


class Every:
    """Steps 1, freq + 1, 2 * freq + 1 and so on, counted as the history counts them.

    Unlike a throttle's count this one needs no state: a resumed run goes on where the history does.

    Args:
        freq: Every how many steps, at least 1; None means each.
        owner: Who asks, for the message.

    Raises:
        ArgumentTypeError: if `freq` is no int.
        ArgumentValueError: if it is below one.

    Example:
        >>> every = Every(4, "LogHistograms")
        >>> [step for step in range(1, 11) if every(step)]
        [1, 5, 9]
    """

    def __init__(self, freq: int | None, owner: str) -> None:
        if freq is not None and (not isinstance(freq, int) or isinstance(freq, bool)):
            raise ArgumentTypeError(f"{owner} needs an int or None, got freq={freq!r}: {owner}(..., freq=100)")
        if freq is not None and freq < 1:
            raise ArgumentValueError(
                f"{owner} logs every freq steps, got freq={freq}. Every step is: {owner}(..., freq=None)"
            )
        self.freq = freq or 1

    def __call__(self, steps: int) -> bool:
        return (steps - 1) % self.freq == 0
