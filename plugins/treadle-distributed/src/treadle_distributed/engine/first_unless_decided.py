"""`first_unless_decided`: the engine runs before whoever uses what it makes equal, unless the other has an opinion."""

from __future__ import annotations

from treadle import Callback, ConflictResolution, NotDefined, RunFirst

#: Those that ask another one at the moment: one that asks them in turn is not asked again.
asking: set[Callback] = set()


def first_unless_decided(callback: Callback, other: Callback) -> ConflictResolution:
    """`RunFirst(callback)`, or `NotDefined()` if the other callback's own `resolve_conflict` decides.

    Example:
        >>> from treadle import Callback
        >>> first_unless_decided(Callback(), Callback())
        RunFirst(callback=<Callback>)
    """
    if callback in asking:
        return NotDefined()
    asking.add(callback)
    try:
        return RunFirst(callback) if isinstance(other.resolve_conflict(callback), NotDefined) else NotDefined()
    finally:
        asking.discard(callback)
