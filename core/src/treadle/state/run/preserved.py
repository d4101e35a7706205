"""`preserved_state`: use models, optimizers and callbacks, and leave the same objects as they were found."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from treadle.errors import NotSaveableError
from treadle.state.random_state import generator_state, is_generator, own_generators, part_of, set_generator_state
from treadle.state.run.values import has_state

Undo = Callable[[], object]


@contextmanager
def preserved_state(
    holders: Iterable[object], loaders: Iterable[object] = (), *, parameters: bool = True
) -> Iterator[None]:
    """Leave models, optimizers, callbacks and loaders as they were found, whatever happens inside.

    Unlike `RunState`, which fits any learner, this is for a trial with the learner's own objects, as the LR finder
    makes one: it remembers every tensor, container, random generator and attribute that is reachable from the
    holders, and puts the contents back in place. The same objects are there as before, so that a closure or a
    captured graph that holds one finds it as it was. Of other objects it puts back what their `state_dict` returns.

    Args:
        holders: Models, optimizers, callbacks, loss functions; anything else is passed over.
        loaders: Sources of batches. Of these, of their samplers and data sets, only the attributes themselves and
            random generators are put back: a data set may be large. Default: none.
        parameters: Whether to put back parameters of modules, which needs a copy of each. Default: yes; without it
            nothing inside may change one.

    Raises:
        NotSaveableError: for a lazy tensor, which cannot become lazy again.

    Example:
        >>> norm = torch.nn.BatchNorm1d(2)
        >>> with preserved_state([norm]):
        ...     _ = norm.eval(), norm.train()(torch.ones(4, 2))
        >>> norm.training, norm.num_batches_tracked
        (True, tensor(0))
    """
    loaders = list(loaders)
    undos = [undo for holder in _reachable(holders, parameters=parameters) if (undo := undo_of(holder)) is not None]
    for loader in loaders:
        undos += [container_undo(vars(part)) for part in parts_of(loader)]
    undos += [generator_undo(generator) for generator in own_generators(loaders)]
    try:
        yield
    finally:
        for undo in reversed(undos):
            undo()


def _reachable(holders: Iterable[object], *, parameters: bool) -> Iterator[Any]:
    """All objects that hold state, and what they hold, each once; what holds something before that."""
    seen: dict[int, object] = {}  # holds the objects as well, so that no id is used twice
    waiting = list(holders)
    while waiting:
        value: Any = waiting.pop()
        if id(value) in seen or (isinstance(value, torch.nn.Parameter) and not parameters):
            continue
        seen[id(value)] = value
        yield value
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | set | deque | tuple | frozenset):
            waiting += value
        elif isinstance(value, torch.nn.Module | torch.optim.Optimizer) or is_callback(value):
            waiting.append(vars(value))


def undo_of(value: Any) -> Undo | None:
    """A function that puts a value back as it is now; None if there is nothing to put back in place."""
    if isinstance(value, torch.Tensor):
        return tensor_undo(value)
    if isinstance(value, dict | list | set | deque):
        return container_undo(value)
    if is_generator(value):
        return generator_undo(value)
    if isinstance(value, torch.nn.Module | torch.optim.Optimizer) or not has_state(value):
        return None  # of a module and an optimizer all attributes are put back
    return state_undo(value)


def is_callback(value: Any) -> bool:
    """Whether it is a callback; its class stands above this room."""
    return has_state(value) and hasattr(value, "state_access")


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


def container_undo(container: Any) -> Undo:
    """A function that restores the items of a dictionary, list, set or deque."""
    before = copy.copy(container)
    fill = container.extend if isinstance(container, list | deque) else container.update

    def undo() -> None:
        container.clear()
        fill(before)

    return undo


def generator_undo(generator: Any) -> Undo:
    """A function that sets a random generator back."""
    return partial(set_generator_state, generator, copy.deepcopy(generator_state(generator)))


def state_undo(holder: Any) -> Undo:
    """A function that loads what the `state_dict` of an object returned."""
    state = copy.deepcopy(holder.state_dict())

    def undo() -> None:
        if state:
            holder.load_state_dict(state)

    return undo


def parts_of(loader: object) -> list[object]:
    """A loader with its samplers and its data set, each once, as far as they have attributes."""
    parts: dict[int, object] = {}
    waiting = [loader]
    while waiting:
        part = waiting.pop()
        if hasattr(part, "__dict__") and not isinstance(part, type) and id(part) not in parts:
            parts[id(part)] = part
            waiting += [part_of(part, name) for name in ("sampler", "batch_sampler", "dataset")]
    return list(parts.values())
