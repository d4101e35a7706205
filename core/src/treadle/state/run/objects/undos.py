"""Functions that put one object back as it was: a tensor, an array, a container, slots, a variable, an open file."""

from __future__ import annotations

import copy
import io
import types
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from treadle.errors import NotSaveableError
from treadle.state.run.objects.attributes import cell_content

Undo = Callable[[], object]

#: The types whose own method copies them, without a search for how to.
COPIED = (dict, list, set, deque)

#: In the place of a slot that is not set.
UNSET: Any = object()


def undo_all(undos: Sequence[Undo]) -> None:
    """Call the functions, the last one first. If some of them fail, the rest is put back all the same."""
    first: Exception | None = None
    for undo in reversed(undos):
        try:
            undo()
        except Exception as error:
            first = first or error
    if first is not None:
        raise first


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
    before = container.copy() if type(container) in COPIED else copy.copy(container)

    def undo() -> None:
        if not same_items(container, before):
            container.clear()
            (container.extend if isinstance(container, list | deque) else container.update)(before)

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
