"""`Gradients`: the gradients of a step, by the names of their parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from treadle.state.propdict import named


class Gradients(Mapping[str, torch.Tensor]):
    """The gradients of a step, by the names of their parameters; those that there are.

    They are the parameters' own `.grad`, looked up when asked for, and can be read until the next
    step begins. Setting an item replaces a gradient.
    """

    __slots__ = ("_params",)

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params

    def __getitem__(self, name: str) -> torch.Tensor:
        parameter = self._params[name]
        if isinstance(parameter, Mapping):
            return Gradients(parameter)  # type: ignore[return-value]
        if parameter.grad is None:
            raise KeyError(f"The parameter {name} has no gradient: it is frozen, or the loss does not depend on it.")
        gradient: torch.Tensor = parameter.grad
        return gradient

    def __setitem__(self, name: str, gradient: torch.Tensor) -> None:
        self._params[name].grad = gradient

    def __iter__(self) -> Iterator[str]:
        return (
            name for name, value in named(self._params).items() if isinstance(value, Mapping) or value.grad is not None
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Gradients({', '.join(self)})"
