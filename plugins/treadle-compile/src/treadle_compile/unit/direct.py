"""`Direct`: what torch has compiled, called without the wrappers that torch puts around it."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import torch


class Direct:
    """A compiled function, called where torch's own conditions hold, as torch itself would call it.

    torch.compile calls a function by several wrappers in Python, which for a small step take as long as what it
    computes. What they lead to is a code object and the conditions under which it may be run: both are asked here
    without them.

    Args:
        code: The code that torch has made of the function.
        conditions: The conditions on its arguments, and on whatever else it has seen, under which it may be run.
    """

    __slots__ = ("_conditions", "_fixed", "_names", "_run")

    def __init__(self, function: types.FunctionType, code: types.CodeType, conditions: Any) -> None:
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        closure = tuple(cells[name] for name in code.co_freevars)
        self._run: Callable[..., Any] = types.FunctionType(code, function.__globals__, function.__name__, None, closure)
        self._conditions = conditions
        self._names = function.__code__.co_varnames[: function.__code__.co_argcount]
        self._fixed = {name: cell.cell_contents for name, cell in cells.items()}

    def fits(self, *arguments: Any) -> bool:
        """Whether the function, called with these arguments, would be what was compiled."""
        conditions = self._conditions
        if conditions.cache_entry is None:  # torch has dropped it
            return False
        found = self._fixed.copy()  # which keeps no batch alive
        found.update(zip(self._names, arguments, strict=True))
        return conditions.check(found)  # type: ignore[no-any-return]

    def __call__(self, *arguments: Any) -> Any:
        return self._run(*arguments)


def direct(function: Callable[..., Any]) -> Direct | None:
    """What torch has compiled of a function last; None where this torch does not show it.

    The names by which torch shows it are not public. Of another torch, the function that torch.compile returned is
    called as ever.
    """
    assert isinstance(function, types.FunctionType)
    try:
        entries = torch._dynamo.eval_frame._debug_get_cache_entry_list(function.__code__)
        (entry,) = entries
        found = Direct(function, entry.code, entry.guard_manager)
        return found if entry.guard_manager.cache_entry is not None and callable(entry.guard_manager.check) else None
    except (AttributeError, ImportError, KeyError, TypeError, ValueError):
        return None
