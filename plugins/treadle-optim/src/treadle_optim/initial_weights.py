"""`FromInitialWeights`: what callbacks that follow the updates from the initial weights on have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.parameter import is_lazy
from treadle import AbstractTrainingPhase
from treadle.authoring import models_by_name, update_under_way
from treadle.errors import ArgumentValueError

from treadle_optim.averages import Averages
from treadle_optim.kept_weights import KeptWeights


class FromInitialWeights(KeptWeights):
    """Begins with the weights that are there when training begins, and follows those that updates change.

    It is a guard: a training phase that has no `UpdateEnd`, where it would follow nothing, is refused.

    Attributes:
        updates: How many updates have changed each model, by its name; a single one has the empty name.
        freq: The number of updates of a model from one time to the next.
    """

    guard = True

    def __init__(self, freq: int) -> None:
        super().__init__()
        self.freq = freq
        self.updates: dict[str, int] = {}

    def follow(self, averages: list[torch.Tensor], parameters: list[torch.Tensor]) -> None:
        """Bring averages, and perhaps parameters, up to date; all are on one device and of one type."""
        raise NotImplementedError

    def on_init(self, learner: Any) -> None:
        super().on_init(learner)
        for prefix, module in models_by_name(learner.model).items():
            for name, parameter in module.named_parameters():
                if is_lazy(parameter):
                    raise ArgumentValueError(
                        f"{self.name} begins with the initial weights, and {f'{prefix}.' if prefix else ''}{name} has "
                        f"no shape yet.\nFix: show the model a batch before the learner is built:\n    model(xs)"
                    )
        self._begin()

    def on_epoch_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        self._use(learner.model)
        self._begin()

    def on_update_end(self, learner: Any) -> None:
        averages, updates, freq = self.averages, self.updates, self.freq
        assert averages is not None
        names = update_under_way(learner).models or averages.models
        for name in names:
            updates[name] = updates.get(name, 0) + 1
        if freq > 1:
            names = tuple(name for name in names if not updates[name] % freq)
        for group in averages.groups(names):
            self.follow(*group)

    def state_dict(self) -> dict[str, Any]:
        """The values by name, and the updates of each model."""
        return {**super().state_dict(), "updates": dict(self.updates)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = dict(state["updates"])
        super().load_state_dict(state)

    def _begin(self) -> None:
        """Before the first update, begin with the weights that are there; later these must be of the same model."""
        if not self.updates or self.averages is None:
            self.averages = Averages(self._model)
