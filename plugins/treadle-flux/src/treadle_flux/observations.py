"""Data in memory: checked, in one form, and split into batches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from treadle.errors import ArgumentTypeError, ArgumentValueError, DataError

EXAMPLE = "DataLoader((xs, ys), batchsize=32)"


def as_observations(data: Any, name: str = "data") -> Any:
    """Tensors, and tuples and mappings of them; arrays become tensors that share their memory.

    Raises:
        ArgumentTypeError: for anything else.
        ArgumentValueError: for a tensor that has no first axis, or needs a gradient.
    """
    if isinstance(data, torch.Tensor):
        return checked(data, name)
    if isinstance(data, Mapping):
        return {key: as_observations(part, f"{name}[{key!r}]") for key, part in filled(data, name).items()}
    if isinstance(data, tuple):
        parts = [as_observations(part, f"{name}[{i}]") for i, part in enumerate(filled(data, name))]
        return type(data)._make(parts) if hasattr(data, "_make") else tuple(parts)
    if hasattr(data, "__array_interface__"):
        return checked(from_array(data, name), name)
    fix = f"put them into one tensor, or pass a tuple:\n    {EXAMPLE}"
    if isinstance(data, list) and data and all(isinstance(item, torch.Tensor) for item in data):
        fix = "for one tensor of all of them, or for several that belong together:\n"
        fix += "    DataLoader(torch.stack(tensors))\n    DataLoader(tuple(tensors))"
    elif isinstance(getattr(data, "tensors", None), tuple):
        fix = "pass its tensors:\n    DataLoader(dataset.tensors)"
    elif callable(getattr(data, "to_numpy", None)):
        fix = "pass its array:\n    DataLoader(frame.to_numpy())"
    raise ArgumentTypeError(
        f"{name} must be a tensor, an array, or a tuple or a mapping of these, got a {type(data).__name__}.\nFix: {fix}"
    )


def filled(container: Any, name: str) -> Any:
    """A container that is not empty."""
    if container:
        return container
    raise ArgumentValueError(f"{name} is an empty {type(container).__name__}.\nFix: write, for example:\n    {EXAMPLE}")


def from_array(array: Any, name: str) -> torch.Tensor:
    """The tensor of an array, in the same memory."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes to it
            return torch.from_numpy(array)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(
            f"{name} is a {type(array).__name__} of which no tensor can be made: {error}\n"
            f"Fix: convert it, for example:\n    numpy.ascontiguousarray(array, dtype=numpy.float32)"
        ) from error


def checked(tensor: torch.Tensor, name: str) -> torch.Tensor:
    """A tensor whose rows can be taken."""
    if not tensor.ndim:
        raise ArgumentValueError(
            f"{name} is a single number, and observations stand along the first axis.\n"
            f"Fix: give it that axis:\n    tensor.reshape(1)"
        )
    if tensor.requires_grad:
        raise ArgumentValueError(
            f"{name} needs a gradient, and batches are copies.\nFix: take it out of the graph:\n    tensor.detach()"
        )
    if tensor.layout is not torch.strided:
        raise ArgumentTypeError(f"{name} is sparse ({tensor.layout}).\nFix: make it dense:\n    tensor.to_dense()")
    try:
        tensor[:1].index_select(0, torch.zeros(len(tensor[:1]), dtype=torch.int64, device=tensor.device))
    except RuntimeError as error:
        raise ArgumentTypeError(
            f"torch cannot take rows of {name}, a tensor of {tensor.dtype}.\nFix: convert it:\n    tensor.long()"
        ) from error
    return tensor


def leaves(data: Any, name: str = "data") -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in data, with how they are reached."""
    if isinstance(data, torch.Tensor):
        yield name, data
    else:
        for key, part in data.items() if isinstance(data, Mapping) else enumerate(data):
            yield from leaves(part, f"{name}[{key!r}]")


def length(data: Any) -> int:
    """How many observations there are.

    Raises:
        DataError: if there are none, or the parts disagree.
    """
    lengths = {name: len(tensor) for name, tensor in leaves(data)}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {rows}" for name, rows in lengths.items())
        raise DataError(
            f"The parts of the data have different numbers of observations: {listed}.\n"
            f"Fix: pass parts whose first axes are equally long:\n    {EXAMPLE}"
        )
    rows = next(iter(lengths.values()))
    if not rows:
        raise DataError("The data have no observation.\nFix: pass tensors whose first axis is not empty.")
    return rows


def split(data: Any, take: Callable[[torch.Tensor], torch.Tensor], batchsize: int) -> Iterator[Any]:
    """Some rows of the data, in batches. All but mappings are combined without a line of Python for each batch."""
    if isinstance(data, torch.Tensor):
        return iter(take(data).split(batchsize))  # type: ignore[no-untyped-call]
    if isinstance(data, Mapping):
        keys = tuple(data)
        parts = zip(*(split(part, take, batchsize) for part in data.values()), strict=True)
        return (dict(zip(keys, part, strict=True)) for part in parts)
    parts = zip(*(split(part, take, batchsize) for part in data), strict=True)
    make = getattr(data, "_make", None)  # of a named tuple
    return parts if make is None else map(make, parts)
