"""Which sources of batches can be resumed, and the state of those that keep one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader

from treadle_checkpoint.errors import NotResumableError
from treadle_checkpoint.shared_entries import has_state


def refuse_unresumable(data: Mapping[str, Any]) -> None:
    """Refuse data whose order could not be had again.

    Args:
        data: Iterables of batches by name.

    Raises:
        NotResumableError: naming the first of them, and why.
    """
    for name, batches in data.items():
        if has_state(batches):
            continue
        if (reason := why_not(batches)) is not None:
            raise NotResumableError(
                f"A run over data.{name} could not be resumed: {reason} To keep the model alone, which needs no such "
                f"thing: Checkpointer(folder, whole_run=False)"
            )


def why_not(batches: Any) -> str | None:
    """Why the order of batches could not be had again, and what mends it; None if it could."""
    if isinstance(batches, Iterator):
        return (
            f"{type(batches).__name__} is an iterator, and what it has given is gone. Pass what it is made of, such "
            f"as a list or a DataLoader, or an iterator with state_dict and load_state_dict."
        )
    if not isinstance(batches, DataLoader):
        return None
    if batches.num_workers > 0 and batches.persistent_workers:
        return "its workers outlive the epoch, and take what they drew with them. Use persistent_workers=False."
    if batches.num_workers > 0 and not getattr(batches, "in_order", True):
        return "its batches come in the order in which its workers finish. Use in_order=True."
    for part in ("sampler", "batch_sampler"):
        if isinstance(getattr(batches, part), Iterator):
            return f"its {part} is an iterator, and what it has given is gone. Pass what it is made of, such as a list."
    return None


def gather(data: Mapping[str, Any], under_way: str | None) -> dict[str, Any]:
    """The states of those that keep one, by name.

    A `DataLoader` of a kind that has a state makes its iterator anew for each epoch, and makes one if it is asked too
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


def put(data: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Give those that keep a state back what `gather` gave."""
    for name, state in saved.items():
        if name in data and has_state(data[name]):
            data[name].load_state_dict(state)
