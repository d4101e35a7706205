"""The arguments of `Metric` and `Traces`: their guards, and what is made of them."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import torch
from treadle import Phase, Read
from treadle.access import Permission
from treadle.authoring import map_tensors
from treadle.errors import ArgumentTypeError, ArgumentValueError


def name_of(fn: Any) -> str:
    """The name of a function or an object's class, capitalised; a lambda is refused."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    name: str = getattr(fn, "__name__", type(fn).__name__)
    if name == "<lambda>":
        raise ArgumentTypeError(
            "A lambda has no name to be recorded as.\n"
            'Fix: name the metric:\n    Metric(lambda yhats, ys: ..., name="Error")'
        )
    return name[:1].upper() + name[1:]


def checked_name(name: Any, owner: str, example: str = 'Metric(fn, name="Error")') -> str:
    """The name, which is a text that is not empty."""
    if isinstance(name, str) and name:
        return name
    error = ArgumentValueError if isinstance(name, str) else ArgumentTypeError
    raise error(
        f"The name of {owner} heads a column, so it must be a text that is not empty, got {name!r}.\n"
        f"Fix: write, for example:\n    {example}"
    )


def checked_phase(phase: Any, owner: str = "phase") -> Any:
    """The argument, which is a type of phase, or a union or tuple of some."""
    union = isinstance(phase, types.UnionType) or typing.get_origin(phase) is typing.Union
    kinds = typing.get_args(phase) if union else phase if isinstance(phase, tuple) else (phase,)
    if kinds and all(isinstance(kind, type) and issubclass(kind, Phase) for kind in kinds):
        return tuple(kinds) if len(kinds) > 1 else kinds[0]
    kind = type(phase).__name__ if isinstance(phase, Phase) else "ValidationPhase"
    raise ArgumentTypeError(f"{owner} is a type of phase, got {phase!r}.\nFix: pass the class:\n    phase={kind}")


def takes(fn: Any, *arguments: str) -> bool:
    """Whether a function can be called with as many positional arguments; also where nobody can know."""
    try:
        inspect.signature(fn).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # some built-in functions have no signature
        pass
    return True


def check_takes(fn: Any, owner: str, *arguments: str) -> None:
    """Refuse a function that cannot be called with these arguments."""
    if not takes(fn, *arguments):
        listed = ", ".join(arguments)
        raise ArgumentTypeError(
            f"{owner} is called with ({listed}), and {getattr(fn, '__qualname__', type(fn).__name__)} does not take "
            f"these.\nFix: pass a function that does, for example:\n    lambda {listed}: ..."
        )


def weight_access(weight: Any, state_access: Any, owner: str) -> Mapping[str, type[Permission]]:
    """What weighing a batch reads of the learner; see `Metric`."""
    if not callable(weight):
        if state_access is not None:
            raise ArgumentValueError(
                f"{owner}(state_access) is what a function `weight` reads, and {owner}(weight) is {weight!r}.\n"
                f"Fix: pass both, or none:\n"
                f'    {owner}(..., weight=lambda step: step.mask.sum(), state_access={{"step.mask": Read}})'
            )
        return {} if weight is None else {"step.xs": Read}
    if state_access is None:
        return {"step.xs": Read, "step.ys": Read}
    if not isinstance(state_access, Mapping):
        raise ArgumentTypeError(
            f"{owner}(state_access) maps paths to Read, got {state_access!r}.\n"
            f'Fix: write, for example:\n    {owner}(..., weight=fn, state_access={{"step.mask": Read}})'
        )
    return state_access


def placement(device: Any) -> Callable[[Any, Any], Any]:
    """A function that brings outputs and targets where they are compared; see `Metric`."""
    if callable(device):
        function: Callable[..., Any] = device
        if takes(function, "yhats", "ys"):
            return function
        check_takes(function, "Metric(device)", "tensors")
        return lambda yhats, ys: (function(yhats), function(ys))
    example = 'device="cpu"\n    device=lambda yhats, ys: (yhats.softmax(1), ys)'
    try:
        target = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ArgumentTypeError(
            f"device is a device or a function of (yhats, ys), got {device!r}.\nFix: pass one of these:\n    {example}"
        ) from error
    try:
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ArgumentValueError(
            f"device={device!r} is not available on this machine.\nFix: pass one that is, for example:\n    {example}"
        ) from error
    return lambda yhats, ys: map_tensors(lambda part: part.to(target), (yhats, ys))
