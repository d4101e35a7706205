"""`params`: the parameters of models, in one collection that refers to them."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from treadle.errors import ArgumentTypeError, ArgumentValueError

FIX = "params(model)  # or some layers: params(model[:-1]), or tensors: params(weight, bias)"


class Params:
    """Parameters in their order, each once; they are the models' own tensors, not copies.

    Two are equal if they hold the same tensors. `in` looks for the tensor itself, not for one with equal values. `+`
    joins two, `-` leaves out those of the other, as for layers that are to stay as they are.

    Attributes:
        modules: The modules that they were taken from, which `train` sets to training mode.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        >>> rest = params(model) - params(model[0])
        >>> len(params(model)), len(rest), model[1].weight in rest, model[0].weight in rest
        (4, 2, True, False)
    """

    def __init__(self, tensors: Iterable[torch.Tensor], modules: Iterable[nn.Module] = ()) -> None:
        self._tensors = {id(tensor): tensor for tensor in tensors}
        self.modules = tuple({id(module): module for module in modules}.values())

    def __len__(self) -> int:
        return len(self._tensors)

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(self._tensors.values())

    def __getitem__(self, i: int) -> torch.Tensor:
        return tuple(self._tensors.values())[i]

    def __contains__(self, tensor: object) -> bool:
        return id(tensor) in self._tensors

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Params) and self._tensors.keys() == other._tensors.keys()

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Params) -> Params:
        return Params([*self, *other], [*self.modules, *other.modules]) if isinstance(other, Params) else NotImplemented

    def __sub__(self, other: Params) -> Params:
        if not isinstance(other, Params):
            return NotImplemented
        return Params([tensor for tensor in self if tensor not in other], self.modules)

    def __repr__(self) -> str:
        return f"Params({', '.join(f'{tuple(tensor.shape)}' for tensor in self)})"


def params(*parts: Any) -> Params:
    """The trainable parameters of modules, and tensors, also those in lists, tuples and mappings, to any depth.

    Of a module those that need a gradient; of an object of another class, what its method `parameters()` gives.
    Numbers, texts, functions and None are passed over.

    Raises:
        ArgumentValueError: for a tensor that is no leaf, or needs no gradient.
        ArgumentTypeError: for an array, of which there are no gradients.

    Example:
        >>> params(nn.Sequential(nn.Linear(3, 2), nn.Softmax(dim=0)))
        Params((2, 3), (2,))
        >>> weight = torch.ones(2, requires_grad=True)
        >>> params([weight, {"again": weight}], 3)
        Params((2,))
    """
    modules: list[nn.Module] = []
    return Params(found(parts, modules), modules)


def found(part: Any, modules: list[nn.Module]) -> Iterator[torch.Tensor]:
    """The parameters in a part; the modules are added to the list."""
    if isinstance(part, torch.Tensor):
        yield trainable(part)
    elif isinstance(part, nn.Module):
        modules.append(part)
        yield from (parameter for parameter in part.parameters() if parameter.requires_grad)
    elif isinstance(part, Params):
        modules.extend(part.modules)
        yield from part
    elif isinstance(part, Mapping):
        for value in part.values():
            yield from found(value, modules)
    elif isinstance(part, list | tuple | set | frozenset | Iterator):
        for value in part:
            yield from found(value, modules)
    elif callable(getattr(part, "parameters", None)) and not isinstance(part, type):
        yield from found(list(part.parameters()), modules)
    elif part is None or callable(part) or isinstance(part, numbers.Number | str | bytes):
        return
    else:
        fix = f"pass models or tensors:\n    {FIX}"
        if hasattr(part, "__array_interface__"):
            fix = "make a tensor of it that needs a gradient:\n    torch.from_numpy(array).requires_grad_()"
        raise ArgumentTypeError(f"params got a {type(part).__name__}, which has no parameters.\nFix: {fix}")


def trainable(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that an optimizer can change."""
    shape = tuple(tensor.shape)
    if not tensor.is_leaf:
        raise ArgumentValueError(
            f"params got a tensor of shape {shape} that was computed from others, which no optimizer can change.\n"
            f"Fix: pass those that it was computed from, or make it one of its own:\n"
            f"    tensor.detach().requires_grad_()"
        )
    if not tensor.requires_grad:
        raise ArgumentValueError(
            f"params got a tensor of shape {shape} that needs no gradient.\n"
            f"Fix: leave it out, or let it have one:\n    tensor.requires_grad_()"
        )
    return tensor


def held_by(optimizer: torch.optim.Optimizer) -> set[int]:
    """The ids of the parameters that an optimizer holds."""
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def check_optimizer(optimizer: Any) -> torch.optim.Optimizer:
    """Refuse what is not an optimizer.

    Raises:
        ArgumentTypeError: also for a class, since its state would be lost from one call to the next.
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        return optimizer
    name = getattr(optimizer, "__name__", type(optimizer).__name__)
    raise ArgumentTypeError(
        f"The optimizer must be an instance, which keeps its state from one call to the next, got {name}.\n"
        f"Fix: make it once:\n    optimizer = torch.optim.Adam(params(model))"
    )


def refuse_not_held(parameters: Iterable[torch.Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Refuse parameters that the optimizer would leave as they are."""
    held = held_by(optimizer)
    missing = [tuple(parameter.shape) for parameter in parameters if id(parameter) not in held]
    if missing:
        raise ArgumentValueError(
            f"The optimizer does not hold {len(missing)} of the parameters, which would stay as they are; their "
            f"shapes: {', '.join(map(str, missing[:5]))}{', ...' if len(missing) > 5 else ''}.\n"
            f"Fix: make it of the same parameters:\n    optimizer = torch.optim.Adam(params(model))"
        )
