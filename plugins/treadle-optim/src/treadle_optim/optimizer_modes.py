"""`OptimizerModes`: validation with the weights of an optimizer that brings modes of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from treadle import AbstractTrainingPhase, Write
from treadle.authoring import by_name
from treadle.errors import ArgumentTypeError

from treadle_optim.averaged_weights import AveragedWeights
from treadle_optim.averages import copy_into, tensors_of


class OptimizerModes(AveragedWeights):
    """Train and validate with the weights that an optimizer has for each, by its own `train()` and `eval()`.

    That is the interface of schedule-free optimizers. Between its two modes an optimizer converts the weights, which
    rounds; here those that were trained are put back bit for bit, so validation changes nothing.

    Writes: `model`, `optimizer`.

    Raises:
        ArgumentTypeError: in `on_init`, if no optimizer has the methods `train` and `eval`.
        CallbackConflictError: before training, beside another callback that averages weights for validation.

    Source: Defazio et al., The Road Less Scheduled, 2024, https://arxiv.org/abs/2405.15682.

    Example:
        >>> from treadle import toy_learner
        >>> class Doubled(torch.optim.SGD):
        ...     "Validates with twice the weights that it trains."
        ...     def eval(self):
        ...         self.scale(2.0)
        ...     def train(self):
        ...         self.scale(0.5)
        ...     @torch.no_grad()
        ...     def scale(self, factor):
        ...         for parameter in self.param_groups[0]["params"]:
        ...             parameter.mul_(factor)
        >>> modes = OptimizerModes()
        >>> learner = toy_learner(modes, optimizer=lambda parameters: Doubled(parameters, lr=0.001))
        >>> _ = learner.fit(2)
        >>> modes.model().weight.item() == 2 * learner.model.weight.item()
        True
    """

    state_access = {"model": Write, "optimizer": Write}

    def __init__(self) -> None:
        super().__init__()
        self._optimizers: list[Any] = []
        self._trains = False  # before training the weights are the same in both modes

    def on_init(self, learner: Any) -> None:
        super().on_init(learner)
        self._optimizers = with_modes(learner)
        if not self._optimizers:
            raise ArgumentTypeError(
                f"{self.name} needs an optimizer with the methods `train` and `eval`, and the learner has "
                f"{', '.join(type(one).__name__ for one in by_name(learner.optimizer).values())}.\n"
                f"Fix: leave it out, or pass such an optimizer."
            )

    def on_epoch_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        self._use(learner.model)
        self._optimizers = with_modes(learner)
        for optimizer in self._optimizers:
            optimizer.train()
        self._trains = True

    def on_update_end(self) -> None:
        self.refuse_in_validation()

    def state_dict(self) -> dict[str, Any]:
        """Whether training has begun and, in the middle of validation, what was trained."""
        return {**super().state_dict(), "trains": self._trains}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._trains = state["trains"]

    def _replaced(self) -> Mapping[str, torch.Tensor]:
        if not self._trains:
            return {}
        held = {id(p) for optimizer in self._optimizers for group in optimizer.param_groups for p in group["params"]}
        tensors = {name: tensor for name, tensor in tensors_of(self._model).items() if id(tensor) in held}
        trained = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        try:
            for optimizer in self._optimizers:
                optimizer.eval()
            copies: dict[int, torch.Tensor] = {}
            return {name: copies.setdefault(id(one), one.detach().clone()) for name, one in tensors.items()}
        finally:
            for optimizer in self._optimizers:
                optimizer.train()
            copy_into(self._model, trained)


def with_modes(learner: Any) -> list[Any]:
    """The optimizers that have the methods `train` and `eval`."""
    optimizers = by_name(learner.optimizer).values()
    return [one for one in optimizers if callable(getattr(one, "train", None)) and callable(getattr(one, "eval", None))]
