"""`first_batch`: the first batch of data, which stay as they are."""

from __future__ import annotations

from typing import Any

from treadle.authoring import in_this_process, length_of, preserved_state
from treadle.errors import NotSaveableError

from treadle_sanity.check import SkipCheck


def first_batch(data: Any, name: str) -> Any:
    """The first batch of data, without a trace in them.

    Counters, orders and random generators of a loader, its samplers and its data set are put back. A DataLoader starts
    no workers for it, and those that it has stay where they are.

    Args:
        name: What to call the data in a message.

    Raises:
        SkipCheck: for data that would lose the batch: iterators, and streams without a length.

    Example:
        >>> first_batch([(1, 2), (3, 4)], "data.training")
        (1, 2)
    """
    if isinstance(data, (list, tuple)) or not hasattr(data, "__iter__"):
        return data[0]
    if hasattr(data, "__next__"):
        raise SkipCheck(f"{name} is an iterator and would lose its first batch; pass a list or a DataLoader")
    if length_of(data) is None:
        raise SkipCheck(
            f"{name} has no length, so it may be a stream that would lose its first batch; "
            f"define {type(data).__name__}.__len__, or pass a list or a DataLoader"
        )
    try:
        with preserved_state([], [data]):
            for batch in in_this_process(data):
                return batch
    except NotSaveableError as reason:
        what = str(reason).partition("\n")[0]
        raise SkipCheck(f"{name} holds an iterator and would lose its first batch ({what})") from reason
    except Exception as error:
        if getattr(data, "num_workers", 0):
            raise SkipCheck(f"{name} gives no batch outside of its worker processes ({error!r})") from error
        raise
    raise SkipCheck(f"{name} has no batch")
