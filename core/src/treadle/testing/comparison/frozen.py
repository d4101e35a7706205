"""Copies of arbitrary values, to compare with the values as they are later."""

from __future__ import annotations

import enum
import functools
import sys
import types
from array import array
from collections.abc import Mapping, Set
from typing import Any

import torch
from torch import nn

from treadle.callback import Callback
from treadle.phases import Phase
from treadle.state.run.objects.attributes import attributes_of
from treadle.state.views import View

PLAIN = (bool, int, float, complex, str, bytes, type(None), Phase, enum.Enum)


class FrozenTensor:
    """A tensor as it was.

    Args:
        counted: Whether a change in place counts that leaves the content as it was. Default: yes.
        content: Whether the content is copied and compared; else torch's count alone is. Default: yes.

    Attributes:
        tensor: The tensor itself, which may change.
        version: The number of changes in place, by torch's count.
        copy: A copy of its content.
    """

    __slots__ = ("copy", "requires_grad", "tensor", "version")

    def __init__(self, tensor: torch.Tensor, *, counted: bool = True, content: bool = True) -> None:
        self.tensor = tensor
        self.version, self.copy, self.requires_grad = None, None, tensor.requires_grad
        if not nn.parameter.is_lazy(tensor):  # its shape is not decided yet
            self.version = tensor._version if counted and not tensor.is_inference() else None
            self.copy = tensor.detach().clone() if content else None

    def change(self, now: FrozenTensor) -> str | None:
        """How the tensor was changed, or None: by its identity, its version and its content."""
        if self.tensor is not now.tensor:
            return "replaced"
        if self.version != now.version or not equal(self.copy, now.copy):
            return "changed in place"
        return "changed in whether it needs a gradient" if self.requires_grad != now.requires_grad else None


class FrozenObject:
    """An object as it was: its class, and copies of what it holds."""

    __slots__ = ("content", "kind")

    def __init__(self, value: object, content: Any) -> None:
        self.kind, self.content = type(value), content


def frozen(value: Any, memo: dict[int, Any] | None = None) -> Any:
    """A copy of a value and of all that it holds, for `same`.

    Functions, classes, modules of Python, callbacks and the like are compared by name.

    Args:
        memo: For use inside: the number of each object that was copied already, by its `id`.

    Example:
        >>> values = {"a": [1.0], "b": torch.zeros(2)}
        >>> before = frozen(values)
        >>> same(before, frozen(values))
        True
        >>> _ = values["b"].add_(1)
        >>> same(before, frozen(values))
        False
    """
    memo = {} if memo is None else memo
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, torch.Tensor):
        return FrozenTensor(value)
    if id(value) in memo:
        return FrozenObject(value, memo[id(value)][0])
    memo[id(value)] = len(memo), value  # which stays alive, so that nothing else gets its `id`
    return FrozenObject(value, _content(value, memo))


def _content(value: Any, memo: dict[int, Any]) -> Any:
    """Copies of what an object holds."""
    numpy = sys.modules.get("numpy")
    if isinstance(value, (list, tuple)):
        return [frozen(item, memo) for item in value]
    if isinstance(value, Mapping):
        return {key: frozen(item, memo) for key, item in value.items()}
    if isinstance(value, Set):
        return frozenset(value)
    if isinstance(value, (array, bytearray)):
        return bytes(value)
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return (str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, torch.Generator):
        return FrozenTensor(value.get_state())
    if isinstance(value, (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)):
        return getattr(value, "__qualname__", value.__name__)
    if isinstance(value, (Callback, View, torch.optim.Optimizer, types.MethodType)):
        return None
    if isinstance(value, nn.Module):
        return [frozen(part, memo) for part in (dict(value.state_dict()), [m.training for m in value.modules()])]
    if callable(getattr(value, "state_dict", None)):  # which leaves out caches and buffers
        return frozen(value.state_dict(), memo)
    held = attributes(value)
    if not held and "__eq__" in vars(type(value)) and type(value).__hash__ is not None:
        return value  # a value such as a date or a path
    return {name: frozen(item, memo) for name, item in held.items()}


def attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object, without cached properties."""
    cls, cached = type(value), functools.cached_property
    return {name: item for name, item in attributes_of(value) if not isinstance(getattr(cls, name, None), cached)}


def same(before: Any, after: Any) -> bool:
    """Whether two copies have the same content; a tensor may have been replaced by an equal one."""
    if type(before) is not type(after):
        return False
    if isinstance(before, FrozenTensor):
        unequal_counts = before.copy is None and before.version != after.version
        return before.requires_grad == after.requires_grad and not unequal_counts and equal(before.copy, after.copy)
    if isinstance(before, FrozenObject):
        return before.kind is after.kind and same(before.content, after.content)
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(same(item, after[key]) for key, item in before.items())
    if isinstance(before, (list, tuple)):
        return len(before) == len(after) and all(map(same, before, after))
    return bool(before == after or (before != before and after != after))


def equal(before: torch.Tensor | None, after: torch.Tensor | None) -> bool:
    """Whether two tensors are equal; NaN equals NaN."""
    if before is None or after is None:
        return before is after
    if any(getattr(before, name) != getattr(after, name) for name in ("shape", "dtype", "device", "layout")):
        return False
    if before.device.type == "meta":
        return True
    if torch.equal(before, after):
        return True
    if not (before.is_floating_point() or before.is_complex()):
        return False
    return torch.equal(before.isnan(), after.isnan()) and torch.equal(before.nan_to_num(), after.nan_to_num())
