"""The states of loaders that have one, and which data can be iterated over again in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from treadle.errors import NotResumableError
from treadle.state.run.values import has_state


def refuse_unresumable(data: Mapping[str, Any]) -> None:
    """Refuse data whose order could not be repeated.

    Args:
        data: Iterables of batches by name.

    Raises:
        NotResumableError: naming the first of them, and why.

    Example:
        >>> refuse_unresumable({"training": [1, 2, 3]})
        >>> refuse_unresumable({"training": iter([1, 2, 3])})
        Traceback (most recent call last):
        ...
        treadle.errors.NotResumableError: A run over data.training could not be resumed: ...
    """
    for name, batches in data.items():
        if not has_state(batches) and (problem := unresumable(batches)) is not None:
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
    for part in ("sampler", "batch_sampler"):
        if isinstance(getattr(batches, part), Iterator):
            what = f"its {part} is an iterator, and what it has yielded is gone"
            return what, "pass what it is made of, such as a list"
    return None


def capture(data: Mapping[str, Any], under_way: str | None) -> dict[str, Any]:
    """The states of loaders that have one, by name.

    A `DataLoader` of a kind that has a state makes a new iterator for each epoch, and makes one if it is asked too
    early; so only that of the epoch under way is asked.

    Args:
        data: Iterables of batches by name.
        under_way: The name of those of the epoch under way, or None.
    """
    return {
        name: batches.state_dict()
        for name, batches in data.items()
        if has_state(batches) and (name == under_way or not isinstance(batches, DataLoader))
    }


def put_back(data: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Give loaders back what `capture` returned; they use it when they are iterated next."""
    for name, state in saved.items():
        if name in data and has_state(data[name]):
            data[name].load_state_dict(state)
