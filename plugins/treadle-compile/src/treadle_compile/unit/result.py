"""`Result`: what one call of a unit has computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


class Result:
    """What one call of a unit has computed; nothing of it is in the learner until it is committed.

    Attributes:
        trained: The parameters that are trained.
        grads: Their gradients, if they are wanted.
        values: The parameters after the optimizer's step, None if that is no part of the unit.
        states: Their states.
        committed: Whether it is in the learner.
    """

    __slots__ = ("buffers", "committed", "grads", "loss", "optimizer", "states", "trained", "values", "yhats")

    def __init__(
        self,
        trained: list[nn.Parameter],
        optimizer: Optimizer,
        loss: torch.Tensor,
        yhats: Any,
        buffers: list[torch.Tensor],
        grads: Sequence[torch.Tensor],
        values: Sequence[torch.Tensor] | None,
        states: Sequence[dict[str, Any]],
    ) -> None:
        self.trained, self.optimizer, self.loss, self.yhats, self.buffers = trained, optimizer, loss, yhats, buffers
        self.grads, self.values, self.states, self.committed = grads, values, states, False

    def set_gradients(self) -> None:
        """Let the parameters have the gradients that were computed."""
        for parameter, grad in zip(self.trained, self.grads, strict=True):
            parameter.grad = grad

    def commit(self) -> None:
        """Let the parameters, and their states, be what was computed."""
        assert self.values is not None
        trained, optimizer = self.trained, self.optimizer
        old: list[torch.Tensor] = list(trained)
        new: list[torch.Tensor] = list(self.values)
        for parameter, values in zip(trained, self.states, strict=True) if any(self.states) else ():
            state = optimizer.state[parameter]
            for name, value in values.items():
                kept = state.get(name)
                if isinstance(kept, torch.Tensor) and isinstance(value, torch.Tensor):
                    old.append(kept)
                    new.append(value)
                else:
                    state[name] = value
        with torch.no_grad():
            torch._foreach_copy_(old, new)
        self.values, self.states, self.committed = (), (), True
