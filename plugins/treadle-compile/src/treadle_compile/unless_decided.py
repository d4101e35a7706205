"""`unless_decided`: any order of two callbacks is right, unless the other one has an opinion."""

from __future__ import annotations

from treadle import Callback, ConflictResolution, NoConflict, NotDefined

#: Those that ask another one at the moment: one that asks them in turn is not asked again.
asking: set[Callback] = set()


def unless_decided(callback: Callback, other: Callback) -> ConflictResolution:
    """`NoConflict()`, or `NotDefined()` if the other callback's own `resolve_conflict` decides.

    Example:
        >>> from treadle import Callback
        >>> unless_decided(Callback(), Callback())
        NoConflict()
    """
    if callback in asking:
        return NotDefined()
    asking.add(callback)
    try:
        return NoConflict() if isinstance(other.resolve_conflict(callback), NotDefined) else NotDefined()
    finally:
        asking.discard(callback)
