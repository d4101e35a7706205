"""What hangs on modules, on callbacks and in data sets, where no state of the learner names it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import torch
from torch import nn

from treadle.callback import Callback
from treadle.state.views import View
from treadle.state.views.read_only import ReadOnly
from treadle.testing.comparison.frozen import PLAIN, FrozenTensor, attributes, same

#: What torch keeps in each module, of which there are parts of their own.
OF_TORCH = frozenset(vars(nn.Module()))
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")

#: How many objects of a data set are looked at, and how many elements a tensor has at most of which the content is.
MAX_OBJECTS, MAX_ELEMENTS = 1000, 10_000
CONTAINERS = (list, tuple, dict, set, frozenset, deque)


@dataclass(frozen=True)
class Held:
    """An attribute as it was: the object, and a copy if it is a plain value, a tensor, or a container of them."""

    value: Any
    copy: Any = None

    def same(self, now: Held) -> bool:
        """Whether it is the same object, or an equal plain value, with the same content."""
        if isinstance(self.value, PLAIN):
            return same(self.copy, now.copy)
        return self.value is now.value and same(self.copy, now.copy)


def held(value: Any, depth: int = 3) -> Held:
    """An attribute as it is now."""
    return Held(value, shallow(value, depth))


def shallow(value: Any, depth: int) -> Any:
    """A copy of plain values, of tensors and of containers of them; other objects are compared by identity."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, torch.Tensor):
        return FrozenTensor(value, content=value.numel() <= MAX_ELEMENTS)
    if isinstance(value, CONTAINERS) and depth:
        items = [*chain(*value.items())] if isinstance(value, Mapping) else [*value]
        return [shallow(item, depth - 1) for item in items]
    return id(value)


def of_callback(callback: Callback) -> dict[str, Held]:
    """The attributes of a callback."""
    return {name: held(value) for name, value in attributes(callback).items()}


def of_module(module: nn.Module) -> dict[str, Held]:
    """The attributes of a module that are neither parameters, buffers, modules nor its mode."""
    return {name: held(value, 1) for name, value in vars(module).items() if name not in OF_TORCH}


def hooks_of(module: nn.Module) -> list[int]:
    """The hooks of a module, by identity and in their order."""
    return [id(hook) for name in HOOKS for hook in vars(module).get(name, {}).values()]


def tensors_of(data: Any) -> list[FrozenTensor]:
    """The tensors of data: of a list of batches, or of a loader's data set; of the first ones, if there are many.

    A change in place shows in torch's count, and of a small tensor also in the content.
    """
    tensors = (value for value in reached(getattr(data, "dataset", data)) if isinstance(value, torch.Tensor))
    return [FrozenTensor(tensor, content=tensor.numel() <= MAX_ELEMENTS) for tensor in tensors]


def reached(value: Any, depth: int = 4, most: int = MAX_OBJECTS) -> Iterator[Any]:
    """A value and what it holds, in containers and attributes, down to a depth, but not more than so many objects."""
    waiting = deque([(value, depth)])
    seen: set[int] = set()
    while waiting and len(seen) < most:
        value, depth = waiting.popleft()
        if isinstance(value, (*PLAIN, type, nn.Module, Callback, View, ReadOnly)) or id(value) in seen:
            continue
        seen.add(id(value))
        yield value
        if depth and not isinstance(value, (torch.Tensor, Iterator)):
            waiting.extend((item, depth - 1) for item in islice(parts_of(value), most))


def parts_of(value: Any) -> Iterable[Any]:
    """What a container or an object holds directly."""
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, CONTAINERS) else attributes(value).values()
