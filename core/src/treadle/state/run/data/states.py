"""The states of loaders, samplers and data sets that offer one."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from torch.utils.data import DataLoader

from treadle.errors import MismatchError, NotResumableError
from treadle.state.propdict import named
from treadle.state.run.values import has_state

#: The parts of a plain `DataLoader` whose state counts.
PARTS = ("sampler", "batch_sampler", "dataset")


def is_of_a_pass(batches: Any) -> bool:
    """Whether a loader's own state is that of a pass, as torchdata's is, which begins one if it is asked too early.

    Between two passes such a loader is what its parts are, as a plain `DataLoader` is.
    """
    torchdata: Any = sys.modules.get("torchdata.stateful_dataloader")  # not there: so no loader can be of it
    return torchdata is not None and isinstance(batches, torchdata.StatefulDataLoader)


def has_its_own_state(batches: Any) -> bool:
    """Whether data are asked for one state at any time, and all that they hold is in it.

    Example:
        >>> has_its_own_state(DataLoader([1, 2]))
        False
    """
    return has_state(batches) and not is_of_a_pass(batches)


def between_passes(batches: Any) -> Any:
    """Data as they are between two passes: torchdata's loader without the pass that it remembers."""
    if not is_of_a_pass(batches):
        return batches
    batches = copy.copy(batches)
    vars(batches).update(_iterator=None)
    return batches


def parts_with_state(batches: Any) -> dict[str, Any]:
    """The parts of a `DataLoader` that have a state, by name; a loader with a state of its own has none.

    Example:
        >>> parts_with_state(DataLoader([1, 2]))
        {}
    """
    if not isinstance(batches, DataLoader) or has_its_own_state(batches):
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

    A loader with a state of its own is asked for it, torchdata's only in the middle of a pass. The parts of a plain one
    are as they were before the epoch's first batch: its sampler may be ahead of the batches, and those that were done
    are skipped from there.

    Args:
        data: Iterables of batches by name.
        under_way: The name of those of the epoch under way, or None.
        started: What `at_start` returned for it, or None.

    Raises:
        NotResumableError: if a loader begins a pass where it is asked between two of them.
    """
    captured = {}
    for name, batches in named(data).items():
        if has_its_own_state(batches) or (is_of_a_pass(batches) and name == under_way):
            captured[name] = {"": state_of(name, batches, under_way)}
        elif parts := started if name == under_way and started is not None else at_start(batches):
            captured[name] = dict(parts)
    return captured


def state_of(name: str, batches: Any, under_way: str | None) -> Any:
    """The state of a loader's own.

    Raises:
        NotResumableError: if asking for it begins a pass.
    """
    before = getattr(batches, "_iterator", None) if isinstance(batches, DataLoader) else None
    state = batches.state_dict()
    if name != under_way and isinstance(batches, DataLoader) and getattr(batches, "_iterator", None) is not before:
        raise begins_a_pass(name, batches)
    return state


def refuse_asked_in_vain(data: Mapping[str, Any]) -> None:
    """Refuse loaders that keep more than torchdata's does, and that cannot be asked for it between two passes.

    Raises:
        NotResumableError: naming the loader.
    """
    for name, batches in named(data).items():
        if is_of_a_pass(batches):
            torchdata = sys.modules["torchdata.stateful_dataloader"].StatefulDataLoader
            if type(batches).state_dict is not torchdata.state_dict:
                raise begins_a_pass(name, batches)


def begins_a_pass(name: str, batches: Any) -> NotResumableError:
    """The error for a loader that has a state of its own, and begins a pass if it is asked between two of them."""
    return NotResumableError(
        f"A run over data.{name} could not be resumed: {type(batches).__name__}.state_dict begins a pass where it is "
        f"called between two of them, so what it adds cannot be saved there.\n"
        f"Fix: keep that in the loader's sampler or data set, and give those state_dict and load_state_dict"
    )


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
        parts = parts_with_state(batches) | ({"": batches} if has_state(batches) else {})
        for where in states:
            if where not in parts:
                owner = f"data.{name}.{where}".rstrip(".")
                raise MismatchError(
                    f"The checkpoint has a state of {owner}, and the one of this learner has no state_dict.\n"
                    f"Fix: resume with data built as those of the saved run"
                )
            yield name, parts[where], where
