"""`preserved_state`: use models, optimizers and callbacks, and leave the same objects as they were found."""

from __future__ import annotations

import copy
import io
import types
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset, Sampler

from treadle.errors import ArgumentTypeError, NotSaveableError
from treadle.state.random_state import generator_state, set_generator_state
from treadle.state.run.objects.attributes import attribute_dict, by_class, slots_of
from treadle.state.run.objects.kinds import CONTAINERS, is_live, is_opaque_iterator, kind_of
from treadle.state.run.objects.undos import (
    Undo,
    array_undo,
    cell_undo,
    container_undo,
    file_undo,
    script_undo,
    slots_undo,
    state_undo,
    tensor_undo,
    undo_all,
)
from treadle.state.run.objects.walk import Node, walk
from treadle.state.run.values import has_state

#: What may be large, and is treated as a loader is, whoever holds it.
DATA = (DataLoader, Dataset, Sampler)


@contextmanager
def preserved_state(
    holders: Iterable[object], loaders: Iterable[object] = (), *, parameters: bool = True
) -> Iterator[None]:
    """Leave models, optimizers, callbacks and loaders as they were found, whatever happens inside.

    Unlike `RunState`, which fits any learner, this is for a trial with the learner's own objects, as the LR finder
    makes one: it remembers every tensor, array, container, attribute, closure and random generator that is reachable
    from the holders, and puts the contents back in place. The same objects are there as before, so that a closure or a
    captured graph that holds one finds it as it was. Of an object without attributes its `state_dict` is put back.

    Args:
        holders: Models, optimizers, callbacks, loss functions; anything else is passed over.
        loaders: Sources of batches. Of their tensors and arrays only orders are put back, whole numbers in one
            dimension: a data set may be large. A `DataLoader` starts workers of its own inside. Default: none.
        parameters: Whether to put back parameters of modules, which needs a copy of each. Default: yes; without it
            nothing inside may change one.

    Raises:
        NotSaveableError: for a lazy tensor, which cannot become lazy again; for data that hold an iterator under way,
            such as a generator, of which nothing can be put back.

    Example:
        >>> norm = torch.nn.BatchNorm1d(2)
        >>> with preserved_state([norm]):
        ...     _ = norm.eval(), norm.train()(torch.ones(4, 2))
        >>> norm.training, norm.num_batches_tracked
        (True, tensor(0))
    """
    for name, values in (("holders", holders), ("loaders", loaders)):
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise ArgumentTypeError(
                f"{name} must be a list, got {values!r}.\nFix: write, for example:\n    {name}=[{name[:-1]}]"
            )
    put_back = remember(holders, loaders, parameters=parameters)
    try:
        yield
    finally:
        put_back()


def remember(
    holders: Iterable[object],
    loaders: Iterable[object] = (),
    *,
    parameters: bool = True,
    lazy: bool = False,
    kept: Iterable[object] = (),
) -> Undo:
    """A function that puts everything back as it is now; see `preserved_state`.

    Args:
        lazy: Whether a lazy tensor is passed over. Default: no.
        kept: Objects that nobody changes in place, so that nothing is copied of them. Default: none.
    """
    seen: dict[int, Any] = {id(value): value for value in kept}
    undos: list[Undo] = []
    data = list(loaders)

    for node in walk(
        {"holders": list(holders)}, largest=None, stop=(*DATA, *skipped(parameters)), seen=seen, classes=False
    ):
        if isinstance(node.value, DATA):
            data.append(node.value)
            del seen[id(node.value)]
        elif not isinstance(node.value, skipped(parameters)) and not (lazy and is_lazy(node.value)):
            undos += filter(None, undos_of(node.value))
    try:
        for node in walk({"data": data}, seen=seen, classes=False):
            undos += filter(None, undos_of_data(node))
    except BaseException:
        undo_all(undos)
        raise
    return partial(undo_all, undos)


def skipped(parameters: bool) -> tuple[type, ...]:
    """The types of which nothing is put back."""
    return () if parameters else (torch.nn.Parameter,)


def undos_of(value: Any) -> Iterator[Undo | None]:
    """Functions that put a value back as it is now."""
    kind = undone_as(type(value))
    if kind == "tensor":
        yield tensor_undo(value)
    elif kind == "generator":
        yield partial(set_generator_state, value, copy.deepcopy(generator_state(value)))
    elif kind == "file":
        yield file_undo(value)
    elif kind == "array":
        yield array_undo(value)
    elif kind == "object":
        yield from object_undos(value)
        if isinstance(value, torch.jit.ScriptModule):
            yield script_undo(value)


@by_class
def undone_as(cls: type) -> str:
    """What the objects of a class are put back as; nothing, if they are iterators under way."""
    if issubclass(cls, torch.Tensor):
        return "tensor"
    if kind_of(cls) == "generator":
        return "generator"
    if issubclass(cls, io.IOBase):
        return "file"
    if cls.__module__ == "numpy" or issubclass(cls, array):
        return "array"
    return "" if is_opaque_iterator(cls) else "object"


def object_undos(value: Any) -> Iterator[Undo | None]:
    """Functions that put back the items, attributes, slots and the variable of an object; or its state."""
    if isinstance(value, dict | list | set | deque):
        yield container_undo(value)
    if (attributes := attribute_dict(value)) is not None:
        yield container_undo(attributes)
    elif type(value) not in CONTAINERS and has_state(value):  # of a library in C
        yield state_undo(value)
    if isinstance(value, types.CellType):
        yield cell_undo(value)
    elif slots := slots_of(type(value)):
        yield slots_undo(value, slots)


def undos_of_data(node: Node) -> Iterator[Undo | None]:
    """Functions that put back what a source of batches, or a part of it, is now."""
    value = node.value
    if isinstance(value, torch.Tensor) or type(value).__module__ == "numpy" or isinstance(value, array):
        if is_order(value):
            yield from undos_of(value)
    elif not isinstance(value, io.IOBase) and is_opaque_iterator(type(value)):
        if not is_live(value):
            return
        raise NotSaveableError(
            f"{node.path} is a {type(value).__name__} under way, and what it has yielded is gone.\n"
            f"Fix: make a new one for each pass, in a local variable of __iter__"
        )
    else:
        yield from undos_of(value)
        if isinstance(value, DataLoader) and getattr(value, "_iterator", None) is not None:
            vars(value)["_iterator"] = None  # persistent workers go on where they are, and a trial has some of its own


def is_order(value: Any) -> bool:
    """Whether a tensor or an array is a number or an order: whole numbers in one dimension."""
    if isinstance(value, torch.Tensor):
        ndim = value.ndim
        return ndim == 0 or (ndim == 1 and not (value.is_floating_point() or value.is_complex()))
    return isinstance(value, array) or value.ndim == 0 or (value.ndim == 1 and value.dtype.kind in "iu")
