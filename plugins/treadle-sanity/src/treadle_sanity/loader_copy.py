"""`first_batch`: the first batch of data, which stay as they are."""

from __future__ import annotations

import copy
import random
import sys
from typing import Any

import torch
from torch.utils.data import DataLoader
from treadle.authoring import length_of

from treadle_sanity.check import SkipCheck

#: Where loaders, samplers and data sets keep the parts that iterating uses.
PARTS = ("sampler", "batch_sampler", "dataset", "loader")


def first_batch(data: Any, name: str) -> Any:
    """The first batch of data, without a trace in them.

    A loader is copied for it, with its samplers and random generators, so that counters, orders and
    workers of the original stay as they are. A DataLoader's copy has no workers.

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
        raise one_shot(name)
    loader = copied(data)
    workers = getattr(loader, "num_workers", 0)
    if isinstance(loader, DataLoader):  # the copy fetches in this process; the original may have workers
        vars(loader).update(num_workers=0, prefetch_factor=None, timeout=0, pin_memory=False)
        vars(loader).update(persistent_workers=False, _iterator=None)
    if length_of(loader) is None:
        raise SkipCheck(
            f"{name} has no length, so it may be a stream that would lose its first batch; "
            f"define {type(data).__name__}.__len__, or pass a list or a DataLoader"
        )
    batches = iter(loader)
    if iter(loader) is batches:
        raise one_shot(name)
    try:
        for batch in batches:
            return batch
    except Exception as error:
        if workers:
            raise SkipCheck(f"{name} gives no batch outside of its worker processes ({error!r})") from error
        raise
    raise SkipCheck(f"{name} has no batch")


def one_shot(name: str) -> SkipCheck:
    """The reason why nothing is taken from an iterator."""
    return SkipCheck(f"{name} is an iterator and would lose its first batch; pass a list or a DataLoader")


def copied(source: Any, memo: dict[int, Any] | None = None) -> Any:
    """A copy of a loader that can be iterated over without a trace in the original.

    Copied are the loader, its samplers and its data set, and of what these hold random generators,
    lists, dictionaries and orders (whole numbers in one dimension); the rest is shared.
    """
    memo = {} if memo is None else memo  # what was copied already, by its `id`
    if id(source) in memo:
        return memo[id(source)]
    made = _copy_of(source)
    memo[id(source)] = made
    if made is source:
        return made
    for name, value in vars(made).items() if hasattr(made, "__dict__") else ():
        if name in PARTS:
            vars(made)[name] = copied(value, memo)
        elif changeable(value):
            vars(made)[name] = memo.setdefault(id(value), duplicate(value))
    return made


def _copy_of(source: Any) -> Any:
    """A shallow copy of an object with attributes; anything else as it is."""
    if changeable(source):
        return duplicate(source)
    # An object with a finalizer would close its files twice.
    if not hasattr(source, "__dict__") or isinstance(source, (type, torch.Tensor)) or hasattr(source, "__del__"):
        return source
    try:
        return copy.copy(source)
    except Exception:  # what cannot be copied, such as an open connection, is shared
        return source


def changeable(value: Any) -> bool:
    """Whether iterating may change this value in place: a generator, a container or an order."""
    numpy = sys.modules.get("numpy")
    if isinstance(value, (torch.Generator, random.Random)) or type(value) in (list, dict, set):
        return True
    if isinstance(value, torch.Tensor):
        return value.ndim == 1 and not (value.is_floating_point() or value.is_complex())
    if numpy is None:
        return False
    if isinstance(value, (numpy.random.Generator, numpy.random.RandomState)):
        return True
    return isinstance(value, numpy.ndarray) and value.ndim == 1 and value.dtype.kind in "iu"


def duplicate(value: Any) -> Any:
    """A copy of a changeable value, that goes on where the value stands."""
    if isinstance(value, torch.Generator):
        generator = torch.Generator(value.device)
        generator.set_state(value.get_state())
        return generator
    if isinstance(value, torch.Tensor):
        return value.clone()
    return copy.copy(value) if type(value) in (list, dict, set) else copy.deepcopy(value)
