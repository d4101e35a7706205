"""`placement`: how outputs and targets get where they are compared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from treadle.errors import ArgumentTypeError

Place = Callable[[Any, Any], tuple[Any, Any]]


def placement(device: Any) -> Place:
    """A function that brings outputs and targets where they are compared.

    Args:
        device: A device or its name; a function of both; or a function of each.

    Raises:
        ArgumentTypeError: if it is none of these.
    """
    if callable(device):
        return device if takes_two(device) else lambda yhats, ys: (device(yhats), device(ys))
    try:
        target = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentTypeError(
            f'device is a device or a function of (yhats, ys), got {device!r}: device="cpu", or '
            f"device=lambda yhats, ys: (yhats.softmax(1), ys)"
        ) from error
    return lambda yhats, ys: (moved(yhats, target), moved(ys, target))


def takes_two(function: Callable[..., Any]) -> bool:
    """Whether a function can be called with two arguments."""
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # some built-in functions have no signature
        return True
    return True


def moved(value: Any, device: torch.device) -> Any:
    """The tensors in a value, on a device."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: moved(each, device) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [moved(each, device) for each in value]
    return value
