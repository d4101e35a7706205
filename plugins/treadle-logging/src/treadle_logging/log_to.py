"""`log_to`: write one loggable to one or several backends."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_logging.backend import LoggerBackend
from treadle_logging.loggable import Loggable


def log_to(
    backends: LoggerBackend | Iterable[LoggerBackend],
    loggable: Loggable,
    name: str,
    i: int,
    group: str | Iterable[str] = (),
) -> None:
    """Write a loggable to one or several backends.

    A backend that does not support it says so in a warning, the first time; one that fails raises.

    Args:
        backends: A backend, or several.
        loggable: What to write.
        name: What it is, within its group.
        i: The iteration it belongs to.
        group: The group it stands in, or several, outermost first. Default: none.

    Raises:
        ArgumentTypeError: for an argument of the wrong type.
        ArgumentValueError: for an empty name or group.

    Example:
        >>> from pathlib import Path
        >>> from treadle_logging import CSVBackend, Value
        >>> with CSVBackend("log.csv") as backend:
        ...     log_to(backend, Value(0.25), "Loss", 3, group=("Step", "Metrics"))
        >>> print(Path("log.csv").read_text())
        tag,iteration,value
        Step/Metrics/Loss,3,0.25
    """
    if not isinstance(loggable, Loggable):
        raise ArgumentTypeError(
            f"log_to needs a Loggable, got {type(loggable).__name__} {loggable!r:.60}. Say what it is: "
            f"Value(number), Text(text), Image(pixels), Audio(samples, rate), Histogram(numbers)."
        )
    if not isinstance(i, Integral):
        raise ArgumentTypeError(f"log_to needs the iteration as an int, got {i!r}: log_to(..., i=int(step))")
    groups = (group,) if isinstance(group, str) else tuple(group)
    for part in (name, *groups):
        if not isinstance(part, str):
            raise ArgumentTypeError(f"log_to needs names of type str, got {part!r}: str({part!r})")
        if not part:
            raise ArgumentValueError('log_to got an empty name. Name it: log_to(..., "Loss", i, group="Step")')
    for backend in as_backends(backends, "log_to"):
        backend.receive(loggable, name, int(i), groups)


def as_backends(backends: LoggerBackend | Iterable[LoggerBackend], who: str) -> tuple[LoggerBackend, ...]:
    """One or several backends as a tuple, checked.

    Args:
        backends: A backend, or several.
        who: Who needs them, for the message.

    Raises:
        ArgumentTypeError: if one is no backend.
        ArgumentValueError: if there is none.
    """
    if isinstance(backends, LoggerBackend):
        return (backends,)
    several: tuple[Any, ...] = (backends,)
    if isinstance(backends, Iterable) and not isinstance(backends, str):
        several = tuple(backends)
    if not several:
        raise ArgumentValueError(f'{who} needs at least one backend: {who}(CSVBackend("log.csv"), ...)')
    for backend in several:
        if not isinstance(backend, LoggerBackend):
            slip = " (the class; make one of it)" if isinstance(backend, type) else ""
            raise ArgumentTypeError(
                f'{who} needs backends, got {backend!r}{slip}: {who}(CSVBackend("log.csv"), ...). '
                f"One of your own is a subclass of treadle_logging.LoggerBackend."
            )
    return several
