"""`order_of_engine`: where an engine stands among those who use the model and its gradients."""

from __future__ import annotations

from treadle import Callback, ConflictResolution, NoConflict, NotDefined, RunFirst, Write, accesses
from treadle.authoring import handles, overlaps, unwrap
from treadle.operations import Backward, FinalizeGradients, Forward

#: Those that ask another one at the moment: one that asks them in turn is not asked again.
asking: set[Callback] = set()


def order_of_engine(engine: Callback, other: Callback) -> ConflictResolution:
    """Where an engine stands beside another callback that has no opinion about it.

    It is the outer ring around the operations of a step: gradients are reduced before anybody unscales or weighs them.
    At the beginning any order of two that write to the model is right, and whoever reads it comes after.

    Example:
        >>> from treadle import Callback
        >>> order_of_engine(Callback(), Callback())
        NotDefined()
    """
    if engine in asking:
        return NotDefined()
    asking.add(engine)
    try:
        if not isinstance(other.resolve_conflict(engine), NotDefined):
            return NotDefined()
    finally:
        asking.discard(engine)
    if any(handles(unwrap(other), operation) for operation in (Forward, Backward, FinalizeGradients)):
        return RunFirst(engine)
    return NoConflict() if any(overlaps(path, "model") for path in accesses(other, Write)) else NotDefined()
