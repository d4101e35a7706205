"""`Snapshot`: what training changes, remembered, and put back in place."""

from __future__ import annotations

import copy
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch.nn.parameter import is_lazy
from treadle import Callback

from treadle_schedule.lr_finder_result import LRFinderError


class Snapshot:
    """Remembers what models, optimizers, callbacks and loaders are made of, and puts it back.

    It goes through attributes, dictionaries, lists and tuples, and remembers each tensor, container
    and random generator that it comes by. `restore` puts their contents back in place: the same
    objects are there as before, so that a closure or a captured graph that holds one finds it as
    it was. Of other objects it remembers what their `state_dict` tells. It does not go into data
    sets, which may be large.

    Args:
        holders: Models, optimizers, callbacks.
        loaders: Sources of batches. Of these, of their samplers and data sets, only the attributes
            themselves and random generators are remembered.

    Raises:
        LRFinderError: for a lazy parameter, which cannot become lazy again.
    """

    def __init__(self, holders: Iterable[object], loaders: Iterable[object] = ()) -> None:
        self._undo: list[Callable[[], object]] = []
        self._seen: dict[int, object] = {}  # holds the objects as well, so that no id is used twice
        self._waiting = list(holders)
        while self._waiting:
            self._remember(self._waiting.pop())
        for loader in loaders:
            self._remember_loader(loader)

    def restore(self) -> None:
        """Put everything back, what was remembered first at last."""
        while self._undo:
            self._undo.pop()()

    def _remember(self, value: Any) -> None:
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, torch.Tensor):
            self._undo.append(tensor_undo(value))
        elif isinstance(value, dict | list | set | deque):
            self._undo.append(container_undo(value))
            self._waiting += value.values() if isinstance(value, dict) else value
        elif isinstance(value, tuple | frozenset):
            self._waiting += value
        elif isinstance(value, torch.nn.Module | torch.optim.Optimizer | Callback):
            self._waiting.append(vars(value))
            if isinstance(value, Callback):
                self._undo.append(state_undo(value))
        elif (undo := generator_undo(value)) is not None:
            self._undo.append(undo)
        elif has_state(value):
            self._undo.append(state_undo(value))

    def _remember_loader(self, loader: object) -> None:
        for part in parts_of(loader):
            self._undo.append(container_undo(vars(part)))
            self._undo += filter(None, map(generator_undo, vars(part).values()))


def tensor_undo(tensor: torch.Tensor) -> Callable[[], None]:
    """A function that gives a tensor back its values, its memory and its gradient."""
    if is_lazy(tensor):
        raise LRFinderError(
            "The model has lazy parameters, whose shapes are not known yet, and the trial would fix them. "
            "Show it a batch first: learner.model(xs)"
        )
    memory, values = tensor.data, tensor.detach().clone()
    leaf = tensor.is_leaf
    gradient = tensor.grad if leaf else None
    needs_gradient = tensor.requires_grad

    def undo() -> None:
        if not torch.equal(memory, values):  # also spares what cannot be written to, such as an expanded tensor
            memory.copy_(values)
        tensor.data = memory
        if leaf:
            tensor.requires_grad_(needs_gradient)
            tensor.grad = gradient

    return undo


def container_undo(container: Any) -> Callable[[], None]:
    """A function that gives a dictionary, list, set or deque back what it held."""
    before = copy.copy(container)
    fill = container.extend if isinstance(container, list | deque) else container.update

    def undo() -> None:
        container.clear()
        fill(before)

    return undo


def generator_undo(value: Any) -> Callable[[], object] | None:
    """A function that sets a random generator back, if it is one: torch's, Python's or NumPy's."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.random.Generator):
        value = value.bit_generator
    if numpy is not None and isinstance(value, numpy.random.BitGenerator):
        return partial(setattr, value, "state", copy.deepcopy(value.state))
    if isinstance(value, torch.Generator) or (numpy is not None and isinstance(value, numpy.random.RandomState)):
        return partial(value.set_state, value.get_state())
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):  # that one has no state
        return partial(value.setstate, value.getstate())
    return None


def state_undo(holder: Any) -> Callable[[], None]:
    """A function that gives an object back what its `state_dict` told."""
    state = copy.deepcopy(holder.state_dict())

    def undo() -> None:
        if state:
            holder.load_state_dict(state)

    return undo


def has_state(value: object) -> bool:
    """Whether an object tells its state and takes it back, as a gradient scaler does."""
    return not isinstance(value, type) and all(
        callable(getattr(value, name, None)) for name in ("state_dict", "load_state_dict")
    )


def parts_of(loader: object) -> list[object]:
    """A loader with its samplers and its data set, each once, as far as they have attributes."""
    parts: dict[int, object] = {}
    waiting = [loader]
    while waiting:
        part = waiting.pop()
        if hasattr(part, "__dict__") and not isinstance(part, type) and id(part) not in parts:
            parts[id(part)] = part
            waiting += [getattr(part, name, None) for name in ("sampler", "batch_sampler", "dataset")]
    return list(parts.values())
