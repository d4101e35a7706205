"""Whether the next pass over data begins as the first one did: what changes by itself on the way."""

from __future__ import annotations

import copy
import io
import marshal
import types
from array import array
from collections import deque
from collections.abc import Iterator
from hashlib import blake2b
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from treadle.errors import MismatchError, NotResumableError
from treadle.state.random_state import RandomState, preserved_random_state
from treadle.state.run.data.states import at_start, between_passes, has_its_own_state, parts_with_state
from treadle.state.run.objects.attributes import attributes_of
from treadle.state.run.objects.kinds import is_live, is_opaque_iterator, user_classes
from treadle.state.run.objects.preserved import is_order, preserved_state
from treadle.state.run.objects.walk import LARGEST, Node, walk

Values = dict[str, Any]

PLAIN = (bool, int, float, str)


class PassStart(NamedTuple):
    """How things stood right before the first batch of a pass was asked for.

    Args:
        random: The random generators.
        parts: The states of the loader's parts, see `states.at_start`.
        values: Of the plain values in the data those that change from pass to pass.
    """

    random: RandomState
    parts: dict[str, Any]
    values: Values


class Passes:
    """What is known of the passes over some data.

    Args:
        name: What the data are called, for messages: "data.training".
        data: The iterable of batches.

    Attributes:
        moving: The paths of values that were other ones at the beginning of a later pass, as the number of the epoch in
            a sampler that a callback sets.
    """

    def __init__(self, name: str, data: Any) -> None:
        self.name, self.data = name, data
        self.moving: set[str] = set()
        self._before: Values | None = None  # the first whole pass
        self._first: Values = {}  # after its first batch
        self._after: Values | None = None  # when it had ended
        self._random: RandomState | None = None
        self._repeatable = False

    def begin(self, random: RandomState, share: Any = None) -> tuple[PassStart, Iterator[Any]]:
        """How a pass begins, and its batches.

        Args:
            random: The state of the random generators.
            share: What this process goes over, of a run of several. Default: all of the data.
        """
        known = self._before or {}
        is_first = self._after is None
        values = values_of(self.name, self.data) if is_first or known or self.moving else {}
        self.moving |= {path for path, value in values.items() if known.get(path, value) != value}
        moving = {path: values[path] for path in self.moving if path in values}
        start = PassStart(random, at_start(self.data), moving)
        iterator = iter(self.data if share is None else share)
        if not is_first:
            return start, iterator
        self._before, self._random = values, random
        first = list(one_of(iterator)) if values else ()
        self._first = values_of(self.name, self.data) if values else {}
        return start, chain(first, iterator, self._end())

    def _end(self) -> Iterator[Any]:
        """No more batches; looks at the values when all others were taken. Where there were none, none changed."""
        self._after = values_of(self.name, self.data) if self._before else {}
        return
        yield

    def resume(self, start: Values) -> None:
        """Refuse data that are at another place than they were when the pass began that is resumed.

        Raises:
            MismatchError: naming the values that differ.
        """
        values = values_of(self.name, self.data)
        others = [f"{path} was {value!r} and is {values.get(path)!r}" for path, value in start.items()]
        wrong = [what for what, (path, value) in zip(others, start.items(), strict=True) if values.get(path) != value]
        if wrong:
            raise MismatchError(
                f"The data of the epoch that is resumed differ from those of the saved run: {'; '.join(wrong)}.\n"
                f"Fix: set it in on_epoch_begin, which is dispatched again, or give its owner state_dict and "
                f"load_state_dict"
            )
        self.moving |= set(start)

    def __reduce__(self) -> Any:
        """A copy, of a learner, begins anew."""
        return Passes, (self.name, self.data)

    def refuse_unrepeatable(self, sources: dict[str, Any]) -> None:
        """Refuse data whose next pass would not begin as the first one did, and that offer no state.

        Only values that changed by themselves are looked into: then another pass is begun, without a trace.

        Args:
            sources: All that may hold random generators, by name.

        Raises:
            NotResumableError: naming the value that changed.
        """
        if self._repeatable or not self._before:
            return
        now = values_of(self.name, self.data) if self._after is None else self._after
        changed = {path for path, value in self._before.items() if path in now and now[path] != value}
        if changed:
            again = self._begin_again(sources)
            changed = {path for path in changed if again is None or again.get(path) != self._first.get(path)}
        for path in sorted(changed):
            raise NotResumableError(
                f"A run over {self.name} could not be resumed: {path} was {shown(self._before[path])} before a pass "
                f"and {shown(now[path])} after it, so the next pass would be different.\n"
                f"Fix: set it when a pass begins, in __iter__ or in on_epoch_begin, or give its owner state_dict and "
                f"load_state_dict"
            )
        self._repeatable = self._after is not None

    def _begin_again(self, sources: dict[str, Any]) -> Values | None:
        """The values after the first batch of another pass, which leaves no trace; None if it cannot be begun."""
        assert self._random is not None
        try:
            with preserved_random_state(sources), preserved_state([], [self.data]):
                self._random.put_back()
                loader = in_this_process(self.data)
                list(one_of(iter(loader)))
                return values_of(self.name, loader)
        except Exception:  # of another author: the values that changed are all that is known
            return None


def one_of(iterator: Iterator[Any]) -> Iterator[Any]:
    """The next batch, if there is one."""
    for batch in iterator:
        yield batch
        return


def in_this_process(data: Any) -> Any:
    """A `DataLoader` that does without workers and shares all else with the original; other data as they are.

    Example:
        >>> in_this_process(DataLoader([1, 2], num_workers=1)).num_workers
        0
    """
    if not isinstance(data, DataLoader):
        return data
    loader = copy.copy(data)
    vars(loader).update(num_workers=0, prefetch_factor=None, timeout=0, pin_memory=False)
    vars(loader).update(persistent_workers=False, _iterator=None)
    return loader


def values_of(name: str, data: Any) -> Values:
    """The plain values, orders and places in files that data hold, by their paths; what offers a state is left out."""
    stateful = tuple(id(part) for part in parts_with_state(data).values())
    values: Values = {}
    if has_its_own_state(data):
        return values
    for node in walk({name: between_passes(data)}, ends=has_value):
        value = node.value
        owner: Node | None = node if stateful else None
        while owner is not None and id(owner.value) not in stateful:  # what it holds is in its state
            owner = owner.parent
        if owner is not None:
            continue
        if isinstance(value, (list, tuple, deque)):
            if all(kind in PLAIN for kind in set(map(type, value))):
                values[node.path] = digest(list(value))
        elif isinstance(value, dict):
            if len(value) <= LARGEST:
                items = ((f"{node.path}[{key!r:.60}]", item) for key, item in list(value.items()))
                values |= {path: item for path, item in items if type(item) in PLAIN}
        elif isinstance(value, (torch.Tensor, array)) or type(value).__module__ == "numpy":
            values[node.path] = digest(value.tolist())
        elif isinstance(value, io.IOBase):
            values[node.path] = place_in(value)
        elif not isinstance(value, types.CellType):
            attributes = {**class_attributes(type(value)), **dict(attributes_of(value))}
            values |= {f"{node.path}.{key}": item for key, item in attributes.items() if type(item) in PLAIN}
    return values


def has_value(value: Any) -> bool:
    """Whether an object without attributes to look into is an order, or a file, which has a place."""
    if isinstance(value, torch.Tensor):  # most are batches, of two dimensions or more
        return (
            value.ndim < 2 and is_order(value) and type(value) is torch.Tensor and value.is_cpu
        )  # others would have to be waited for
    if isinstance(value, array) or type(value).__module__ == "numpy":
        return is_order(value)
    return isinstance(value, io.IOBase)


def class_attributes(cls: type) -> dict[str, Any]:
    """The attributes that objects have from their class, as a counter has that begins at 0 there."""
    bases = reversed(user_classes(cls))
    return {name: value for base in bases for name, value in vars(base).items() if not name.startswith("__")}


def digest(values: list[Any]) -> str:
    """A digest of plain values that is the same in every process."""
    return blake2b(marshal.dumps(values, 2), digest_size=8).hexdigest()


def shown(value: Any) -> str:
    """A value, in a message."""
    return "in one order" if isinstance(value, str) and len(value) == 16 else repr(value)


def place_in(file: io.IOBase) -> int | None:
    """The place in a file, or None if it does not know it."""
    try:
        return file.tell()
    except (OSError, ValueError):
        return None


def live_iterators(name: str, data: Any) -> Iterator[tuple[str, Any]]:
    """The iterators under way that data hold and go on with, by their paths; open files are none."""
    if has_its_own_state(data):
        return
    stateful = {id(part): part for part in parts_with_state(data).values()}
    for node in walk({name: between_passes(data)}, seen=stateful):
        if is_opaque_iterator(type(node.value)) and not isinstance(node.value, io.IOBase) and is_live(node.value):
            yield node.path, node.value
