"""The order that callbacks ask for: what `run_after` declares, as edges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from treadle.callback import Callback, unwrap
from treadle.errors import AccessError
from treadle.plugins.discovery import names_of


@dataclass(frozen=True)
class Edge:
    """One callback runs before another, for a reason."""

    before: Callback
    after: Callback
    reason: str


def explicit_edges(callbacks: Sequence[Callback]) -> list[Edge]:
    """The edges that `run_after` makes between callbacks; a name that none of them has makes no edge.

    Raises:
        AccessError: for a `run_after` that is not a collection of classes and names.

    Example:
        >>> class Early(Callback): ...
        >>> class Late(Callback):
        ...     run_after = (Early, "recorder")
        >>> [edge.reason for edge in explicit_edges([Late(), Early()])]
        ['Late.run_after names Early']
    """
    named: dict[str, list[Callback]] = {}
    if any(callback.run_after for callback in callbacks):
        for callback in callbacks:
            for name in names_of(callback):
                named.setdefault(name, []).append(callback)
    edges = []
    for callback in callbacks:
        for entry in entries(callback):
            if isinstance(entry, str):
                name, earlier = entry, named.get(entry, [])
            else:
                name, earlier = entry.__name__, [other for other in callbacks if isinstance(unwrap(other), entry)]
            reason = f"{callback.name}.run_after names {name}"
            edges += [Edge(before, callback, reason) for before in earlier if before is not callback]
    return edges


def entries(callback: Callback) -> Iterator[type[Callback] | str]:
    """What a callback declares in `run_after`, checked."""
    declared: Any = callback.run_after
    if isinstance(declared, (str, type)) or not isinstance(declared, Iterable):
        value = declared.__name__ if isinstance(declared, type) else repr(declared)
        raise AccessError(
            f"{callback.name}.run_after is {value}, not a tuple.\n"
            f"Fix: write a tuple:\n    run_after = {'()' if declared is None else f'({value},)'}"
        )
    for entry in declared:
        if not (isinstance(entry, str) or (isinstance(entry, type) and issubclass(entry, Callback))):
            raise AccessError(
                f"{callback.name}.run_after has {entry!r}, which is not a class of callbacks or a name.\n"
                f"Fix: list callback classes, or the names of entry points or classes:\n"
                f'    run_after = (Recorder, "metrics")'
            )
        yield entry
