"""The step of a torch optimizer as a function of its state, which torch can compile together with other code."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch.optim import Optimizer

#: What one parameter group sets, but for its parameters and the learning rate.
Settings = dict[str, Any]

#: The state of one parameter.
State = dict[str, Any]


def plain_class(cls: type[Optimizer]) -> type:
    """A class with the methods of an optimizer, as they are written.

    torch compiles the step of an `Optimizer` by itself alone, never together with what is before it. Of another
    class, it compiles the same methods as any code. They are taken without what torch wraps them in for profiling.
    """
    body: dict[str, Any] = {}
    for base in reversed(cls.__mro__[:-1]):
        for name, value in vars(base).items():
            if not name.startswith("__"):
                body[name] = inspect.unwrap(value) if inspect.isfunction(value) else value
    return type(cls.__name__, (), body)


def step_of(
    cls: type,
    defaults: dict[str, Any],
    groups: Sequence[Settings],
    sizes: Sequence[int],
    rates: Sequence[torch.Tensor],
    values: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor | None],
    states: Sequence[State],
) -> tuple[list[torch.Tensor], list[State]]:
    """What a step of an optimizer makes of parameters and of their states: new ones; those passed stay as they are.

    Args:
        cls: What `plain_class` returned.
        groups: The settings of each parameter group.
        sizes: How many of the parameters are in each.
        rates: The learning rate of each, as a tensor, so that another one needs no other code.
        grads: The gradient of each parameter; None for those that the step leaves as they are.
    """
    new = [value.clone() for value in values]
    optimizer = cls()
    optimizer.defaults = defaults
    optimizer.state = {
        value: {name: entry.clone() if isinstance(entry, torch.Tensor) else entry for name, entry in state.items()}
        for value, state in zip(new, states, strict=True)
    }
    optimizer.param_groups, begin = [], 0
    for settings, size, rate in zip(groups, sizes, rates, strict=True):
        optimizer.param_groups.append({**settings, "lr": rate, "params": new[begin : begin + size]})
        begin += size
    for value, grad in zip(new, grads, strict=True):
        value.grad = grad
    optimizer.step()
    for value in new:
        value.grad = None
    return new, [optimizer.state[value] for value in new]
