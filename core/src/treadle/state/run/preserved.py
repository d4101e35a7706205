"""`preserved_state`: use models, optimizers and callbacks, and leave the same objects as they were found."""

from __future__ import annotations

import copy
import io
import types
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset, Sampler

from treadle.errors import NotSaveableError
from treadle.state.random_state import generator_state, set_generator_state
from treadle.state.run.values import has_state
from treadle.state.run.walk import (
    Node,
    attribute_dict,
    cell_content,
    is_generator,
    is_live,
    is_opaque_iterator,
    slots_of,
    walk,
)

Undo = Callable[[], object]

#: What may be large, and is treated as a loader is, whoever holds it.
DATA = (DataLoader, Dataset, Sampler)

#: In the place of a slot that is not set.
UNSET: Any = object()


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
    put_back = remember(holders, loaders, parameters=parameters)
    try:
        yield
    finally:
        put_back()


def remember(
    holders: Iterable[object], loaders: Iterable[object] = (), *, parameters: bool = True, lazy: bool = False
) -> Undo:
    """A function that puts everything back as it is now; see `preserved_state`.

    Args:
        lazy: Whether a lazy tensor is passed over. Default: no.
    """
    seen: dict[int, Any] = {}
    undos: list[Undo | None] = []
    data = list(loaders)

    def put_back() -> None:
        first: Exception | None = None
        for undo in reversed(undos):
            try:
                if undo is not None:
                    undo()
            except Exception as error:  # the rest is put back all the same
                first = first or error
        if first is not None:
            raise first

    for node in walk(
        {"holders": list(holders)}, largest=None, stop=(*DATA, *skipped(parameters)), seen=seen, classes=False
    ):
        if isinstance(node.value, DATA):
            data.append(node.value)
            del seen[id(node.value)]
        elif not isinstance(node.value, skipped(parameters)) and not (lazy and is_lazy(node.value)):
            undos += undos_of(node.value)
    try:
        for node in walk({"data": data}, seen=seen, classes=False):
            undos += undos_of_data(node)
    except BaseException:
        put_back()
        raise
    return put_back


def skipped(parameters: bool) -> tuple[type, ...]:
    """The types of which nothing is put back."""
    return () if parameters else (torch.nn.Parameter,)


def undos_of(value: Any) -> Iterator[Undo | None]:
    """Functions that put a value back as it is now."""
    if isinstance(value, torch.Tensor):
        yield tensor_undo(value)
    elif is_generator(value):
        yield partial(set_generator_state, value, copy.deepcopy(generator_state(value)))
    elif isinstance(value, io.IOBase):
        yield file_undo(value)
    elif type(value).__module__ == "numpy" or isinstance(value, array):
        yield array_undo(value)
    elif not is_opaque_iterator(type(value)):
        yield from object_undos(value)
        if isinstance(value, torch.jit.ScriptModule):
            yield script_undo(value)
        if attribute_dict(value) is None and has_state(value):  # of a library in C
            yield state_undo(value)


def object_undos(value: Any) -> Iterator[Undo | None]:
    """Functions that put back the items, attributes, slots and the variable of an object."""
    if isinstance(value, dict | list | set | deque):
        yield container_undo(value)
    if (attributes := attribute_dict(value)) is not None:
        yield container_undo(attributes)
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
            f"Fix: make it anew for each pass, in a variable of __iter__"
        )
    else:
        yield from undos_of(value)
        if isinstance(value, DataLoader) and getattr(value, "_iterator", None) is not None:
            vars(value)["_iterator"] = None  # persistent workers go on where they are, and a trial has some of its own


def is_order(value: Any) -> bool:
    """Whether a tensor or an array is a number or an order: whole numbers in one dimension."""
    if isinstance(value, torch.Tensor):
        return value.ndim == 0 or (value.ndim == 1 and not (value.is_floating_point() or value.is_complex()))
    return isinstance(value, array) or value.ndim == 0 or (value.ndim == 1 and value.dtype.kind in "iu")


def tensor_undo(tensor: torch.Tensor) -> Undo:
    """A function that restores a tensor: its values, its memory and its gradient."""
    if is_lazy(tensor):
        raise NotSaveableError(
            "A model has lazy parameters, which cannot become lazy again once a batch has decided their shapes.\n"
            "Fix: show the model a batch first:\n    learner.model(xs)"
        )
    memory, values = tensor.data, tensor.detach().clone()
    leaf, requires_grad = tensor.is_leaf, tensor.requires_grad
    gradient = tensor.grad if leaf else None

    def undo() -> None:
        if not torch.equal(memory, values):  # also spares what cannot be written to, such as an expanded tensor
            memory.copy_(values)
        tensor.data = memory
        if leaf:
            tensor.requires_grad_(requires_grad)
            tensor.grad = gradient

    return undo


def array_undo(values: Any) -> Undo:
    """A function that restores the numbers of an array."""
    before = copy.copy(values)

    def undo() -> None:
        if not isinstance(values, array):
            if values.flags.writeable:
                values[...] = before
        elif values != before:
            values[:] = before

    return undo


def container_undo(container: Any) -> Undo:
    """A function that restores the items of a dictionary, list, set or deque."""
    before = copy.copy(container)
    fill = container.extend if isinstance(container, list | deque) else container.update

    def undo() -> None:
        if not same_items(container, before):
            container.clear()
            fill(before)

    return undo


def same_items(container: Any, before: Any) -> bool:
    """Whether the same objects are still in a container, in the same order."""
    if len(container) != len(before):
        return False
    if isinstance(container, dict):
        pairs = zip(container.items(), before.items(), strict=True)
        return all(key is old_key and value is old for (key, value), (old_key, old) in pairs)
    if isinstance(container, set):
        return {id(item) for item in container} == {id(item) for item in before}
    return all(item is old for item, old in zip(container, before, strict=True))


def slots_undo(value: Any, slots: tuple[tuple[str, Any], ...]) -> Undo:
    """A function that restores what stands in the slots of an object."""

    def content(slot: Any) -> Any:
        try:
            return slot.__get__(value)
        except AttributeError:
            return UNSET

    before = [(slot, content(slot)) for _, slot in slots]

    def undo() -> None:
        for slot, old in before:
            if content(slot) is old:  # also spares what cannot be written to
                continue
            if old is UNSET:
                slot.__delete__(value)
            else:
                slot.__set__(value, old)

    return undo


def cell_undo(cell: types.CellType) -> Undo:
    """A function that restores a variable that closures share."""
    before = cell_content(cell)

    def undo() -> None:
        if before:
            cell.cell_contents = before[0]
        elif cell_content(cell):
            del cell.cell_contents

    return undo


def file_undo(file: io.IOBase) -> Undo | None:
    """A function that goes back to a place in an open file; None if the file does not know its place."""
    try:
        return partial(file.seek, file.tell())
    except (OSError, ValueError):  # a pipe, or a closed file
        return None


def script_undo(module: Any) -> Undo:
    """A function that restores what a TorchScript module keeps outside of Python: its mode, buffers and attributes."""
    names = ["training", *dict(module.named_buffers(recurse=False))]
    kept = getattr(module, "_concrete_type", None)
    if kept is not None:
        names += [name for name in kept.get_attributes() if name not in names]
    values = {name: getattr(module, name) for name in names if name != "_is_full_backward_hook"}
    before = {name: value if isinstance(value, torch.Tensor) else copy.copy(value) for name, value in values.items()}

    def undo() -> None:
        for name, value in before.items():
            setattr(module, name, value)

    return undo


def state_undo(holder: Any) -> Undo:
    """A function that loads what the `state_dict` of an object returned."""
    state = copy.deepcopy(holder.state_dict())

    def undo() -> None:
        if state:
            holder.load_state_dict(state)

    return undo
