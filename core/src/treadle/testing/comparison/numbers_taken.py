"""`NumbersTaken`: notes where a number is taken from a tensor, for which a step waits for the device."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

#: The functions of torch whose result is on the host.
TAKING = (
    *("item", "tolist", "numpy", "cpu", "__float__", "__int__", "__bool__", "__index__", "__complex__"),
    *("__array__", "__repr__", "__format__", "nonzero", "is_nonzero", "equal", "allclose"),
)

#: Who may take one: the first starts the copy, and reads it when it has arrived; the other compares for this kit, where
#: a handler performs an operation that is recorded as well.
ALLOWED = ("treadle.state.numbers.device_number", "treadle.testing.comparison.frozen")


#: What says whether a tensor is on the CPU.
IS_CPU = torch.Tensor.is_cpu


class NumbersTaken(TorchFunctionMode):
    """Calls a function at each place where a number is taken from a tensor.

    Who has asked whether the tensor is on the CPU takes it there alone, and waits for no accelerator.

    Example:
        >>> import torch
        >>> found = []
        >>> with NumbersTaken(lambda: found.append("here")):
        ...     if torch.ones(2).sum() > 1:
        ...         pass
        >>> found
        ['here']
    """

    def __init__(self, note: Callable[[], object]) -> None:
        super().__init__()
        self._note = note
        self._asked: list[Any] = []  # the tensors of which was asked whether they are on the CPU

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__self__", None) is IS_CPU:
            self._asked.append(args[0])
        elif getattr(func, "__name__", "") in TAKING and not (
            allowed(sys._getframe(1)) or any(asked is args[0] for asked in self._asked)
        ):
            self._note()
        return func(*args, **(kwargs or {}))


def allowed(frame: FrameType | None) -> bool:
    """Whether one of those who may take a number is among the nearest callers."""
    for _ in range(4):
        if frame is None:
            return False
        if frame.f_globals.get("__name__") in ALLOWED:
            return True
        frame = frame.f_back
    return False
