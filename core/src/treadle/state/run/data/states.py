"""The states of loaders, samplers and data sets that offer one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from torch.utils.data import DataLoader

from treadle.errors import MismatchError
from treadle.state.propdict import named
from treadle.state.run.values import has_state

#: The parts of a plain `DataLoader` whose state counts.
PARTS = ("sampler", "batch_sampler", "dataset")


def parts_with_state(batches: Any) -> dict[str, Any]:
    """The parts of a plain `DataLoader` that have a state, by name; a loader with a state of its own has none.

    Example:
        >>> parts_with_state(DataLoader([1, 2]))
        {}
    """
    if not isinstance(batches, DataLoader) or has_state(batches):
        return {}
    found = {name: getattr(batches, name, None) for name in PARTS}
    sampler = getattr(found["batch_sampler"], "sampler", None)
    if found["batch_sampler"] is not None and sampler is not found["sampler"]:
        found["batch_sampler.sampler"] = sampler
    distinct: dict[int, Any] = {}
    for name, part in found.items():
        if has_state(part):
            distinct.setdefault(id(part), (name, part))
    return dict(distinct.values())


def at_start(batches: Any) -> dict[str, Any]:
    """The states of the parts of a loader as they are now, which is before the first batch of an epoch."""
    return {name: deepcopy(part.state_dict()) for name, part in parts_with_state(batches).items()}


def parts_now(data: Mapping[str, Any], under_way: str | None) -> dict[str, Any]:
    """The states of the parts of a loader in the middle of an epoch, by its name: of a fit that ends there for good."""
    parts = at_start(data[under_way]) if under_way is not None and under_way in data else {}
    return {str(under_way): parts} if parts else {}


def capture(data: Mapping[str, Any], under_way: str | None, started: Mapping[str, Any] | None) -> dict[str, Any]:
    """The states that data offer, by name.

    A `DataLoader` of a kind that has a state makes a new iterator for each epoch, and makes one if it is asked too
    early; so only that of the epoch under way is asked. The parts of a plain one are as they were before the epoch's
    first batch: its sampler may be ahead of the batches, and those that were done are skipped from there.

    Args:
        data: Iterables of batches by name.
        under_way: The name of those of the epoch under way, or None.
        started: What `at_start` returned for it, or None.
    """
    captured = {}
    for name, batches in named(data).items():
        if has_state(batches):
            if name == under_way or not isinstance(batches, DataLoader):
                captured[name] = {"": batches.state_dict()}
        elif parts := started if name == under_way and started is not None else at_start(batches):
            captured[name] = dict(parts)
    return captured


def put_back(data: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    """Give data back what `capture` returned; they use it when they are iterated next.

    Raises:
        MismatchError: if a part has no state now.
    """
    for name, part, where in _targets(data, saved):
        part.load_state_dict(deepcopy(saved[name][where]))


def _targets(data: Mapping[str, Any], saved: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    for name, states in saved.items():
        if name not in data:
            continue
        batches = data[name]
        parts = {"": batches} if has_state(batches) else parts_with_state(batches)
        for where in states:
            if where not in parts:
                owner = f"data.{name}.{where}".rstrip(".")
                raise MismatchError(
                    f"The checkpoint has a state of {owner}, and the one of this learner has no state_dict.\n"
                    f"Fix: resume with data built as those of the saved run"
                )
            yield name, parts[where], where
