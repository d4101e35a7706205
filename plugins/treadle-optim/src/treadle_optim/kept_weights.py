"""`KeptWeights`: what callbacks that keep a second value of each parameter have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from treadle import Callback, Write

from treadle_optim.averages import Averages


class KeptWeights(Callback):
    """Keeps a second value of each parameter, by its name.

    Attributes:
        averages: The values, or None as long as there are none.
    """

    state_access = {"model": Write}

    def __init__(self) -> None:
        self._values: Mapping[str, torch.Tensor] | None = None
        self._averages: Averages | None = None  # the same, for the parameters that the models have now
        self._model: Any = None

    @property
    def averages(self) -> Averages | None:
        if self._averages is None and self._values is not None:
            self._averages = Averages(self._model, self._values)
            self._values = self._averages.values
        return self._averages

    @averages.setter
    def averages(self, averages: Averages | None) -> None:
        self._averages = averages
        self._values = None if averages is None else averages.values

    def on_init(self, learner: Any) -> None:
        self._use(learner.model)

    def state_dict(self) -> dict[str, Any]:
        """The values by name."""
        return {"averages": self._values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._averages, self._values = None, cloned(state["averages"])

    def _use(self, model: Any) -> None:
        """Go on with these models; whatever replaced a parameter or moved it, its value goes with it."""
        self._model, self._averages = model, None


def cloned(tensors: Mapping[str, torch.Tensor] | None) -> dict[str, torch.Tensor] | None:
    """Copies of tensors by name, or None for none."""
    return None if tensors is None else {name: tensor.clone() for name, tensor in tensors.items()}
