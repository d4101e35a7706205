"""`Best`: the best value so far, and a copy of the weights that had it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from math import isfinite
from typing import Any

import torch

Model = torch.nn.Module | Mapping[str, torch.nn.Module]


class Best:
    """The lowest value so far, and the weights that had it if they are kept.

    Attributes:
        value: The value, or None.

    Example:
        >>> best, model = Best(), torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.constant_(model.weight, 2.0)
        >>> [best.improves(value) for value in (float("nan"), 0.5, 0.5, 0.75)]
        [False, True, False, False]
        >>> best.keep(model)
        >>> _ = torch.nn.init.constant_(model.weight, 3.0)
        >>> best.restore(model)
        >>> model.weight.item()
        2.0
    """

    def __init__(self) -> None:
        self.value: float | None = None
        self._weights: dict[str, dict[str, Any]] | None = None

    def improves(self, value: float) -> bool:
        """Take a value, and say whether it is the best; one that is not finite never is."""
        if not isfinite(value) or (self.value is not None and value >= self.value):
            return False
        self.value = value
        return True

    def keep(self, model: Model) -> None:
        """Copy what the `state_dict` of a module, or of each of a mapping of modules, holds."""
        self._weights = None  # first, so that there are never two copies
        self._weights = {
            name: {key: _copy(value) for key, value in module.state_dict().items()}
            for name, module in _modules(model).items()
        }

    def restore(self, model: Model) -> None:
        """Load the copy, if there is one, in place."""
        if self._weights is not None:
            for name, module in _modules(model).items():
                module.load_state_dict(self._weights[name])

    def drop(self) -> None:
        """Free the copy."""
        self._weights = None

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the value and the copy."""
        return {"value": self.value, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.value, self._weights = state["value"], state["weights"]


def _modules(model: Model) -> Mapping[str, torch.nn.Module]:
    return {"": model} if isinstance(model, torch.nn.Module) else model


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else deepcopy(value)
