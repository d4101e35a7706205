"""Which data can be iterated over again in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from treadle.errors import NotResumableError
from treadle.state.propdict import named
from treadle.state.run.data.passes import live_iterators
from treadle.state.run.data.states import has_its_own_state, refuse_asked_in_vain
from treadle.state.run.values import has_state


def refuse_unresumable(data: Mapping[str, Any], *, under_way: str | None = None) -> None:
    """Refuse data whose order could not be repeated.

    Args:
        data: Iterables of batches by name.
        under_way: The name of those of which a pass is under way, and whose iterators may be of this pass. Default:
            none.

    Raises:
        NotResumableError: naming the first of them, and why.

    Example:
        >>> refuse_unresumable({"training": [1, 2, 3]})
        >>> refuse_unresumable({"training": iter([1, 2, 3])})
        Traceback (most recent call last):
        ...
        treadle.errors.NotResumableError: A run over data.training could not be resumed: ...
    """
    refuse_asked_in_vain(data)
    for name, batches in named(data).items():
        if has_its_own_state(batches):
            continue
        problem = unresumable(batches) or (None if name == under_way else held_iterator(f"data.{name}", batches))
        if problem is not None:
            what, fix = problem
            raise NotResumableError(f"A run over data.{name} could not be resumed: {what}.\nFix: {fix}.")


def unresumable(batches: Any) -> tuple[str, str] | None:
    """Why the order of batches could not be repeated, and what to do about it; None if it could."""
    if isinstance(batches, Iterator):
        what = f"{type(batches).__name__} is an iterator, and what it has yielded is gone"
        return what, "pass what it is made of, such as a list or a DataLoader, or give it a state_dict"
    if not isinstance(batches, DataLoader):
        return None
    if batches.num_workers > 0 and batches.persistent_workers:
        return "its workers outlive the epoch, with the random numbers they drew", "use persistent_workers=False"
    if batches.num_workers > 0 and not getattr(batches, "in_order", True):
        return "its batches come in the order in which its workers finish", "use in_order=True"
    for part in ("sampler", "batch_sampler", "dataset"):
        value = getattr(batches, part)
        if isinstance(value, Iterator) and not has_state(value):
            what = f"its {part} is an iterator, and what it has yielded is gone"
            return what, "pass what it is made of, such as a list, or give it a state_dict"
    return None


def held_iterator(name: str, batches: Any) -> tuple[str, str] | None:
    """Which iterator data go on with from pass to pass, and what to do about it; None if there is none."""
    for path, iterator in live_iterators(name, batches):
        what = f"{path} is a {type(iterator).__name__} under way, and what it has yielded is gone"
        fix = "make a new one for each pass, in a local variable of __iter__"
        return what, f"{fix}, or give its owner state_dict and load_state_dict"
    return None
