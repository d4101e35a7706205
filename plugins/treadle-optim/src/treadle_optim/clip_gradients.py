"""`ClipGradients`: keep the gradients of an update small."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import nn
from treadle import AbstractTrainingPhase, Callback, Read, Write
from treadle.authoring import real_number, update_under_way
from treadle.errors import ArgumentValueError

from treadle_optim.unusual_gradients import refused_if_unusual

#: Parameters that are smaller are taken to be as large, so that those that begin with 0 can grow; as in the paper.
LEAST_NORM = 1e-3


class ClipGradients(Callback):
    """Clip the gradients of each update, by norm, by value, or adaptively.

    It handles `UpdateBegin`, where the gradients are whole: accumulated, unscaled, of all parameters. In a phase with
    several models, each update is clipped on its own. It is a guard: a training phase that has no `UpdateBegin` is
    refused.

    - `norm`: where the norm over all gradients together is larger, all are multiplied by `norm` / (it + 1e-6), by
      torch's `clip_grad_norm_`.
    - `value`: each element is brought into [-`value`, `value`], by torch's `clip_grad_value_`.
    - `agc`: adaptive gradient clipping. With W_i the weights of one unit (a row of a matrix, a filter of a convolution,
      a vector as a whole) and G_i their gradients: where norm(G_i) > `agc` * max(norm(W_i), 1e-3), G_i is
      multiplied by `agc` * max(norm(W_i), 1e-3) / norm(G_i).

    Exactly one of them is given.

    Args:
        norm: The largest norm over all gradients, above 0.
        value: The largest absolute value of an element, above 0.
        agc: The largest ratio of a gradient's norm to that of its weights, above 0; 0.01 is usual.

    Reads: `optimizer`, for its parameters.
    Writes: `step.grads`.

    Raises:
        ArgumentTypeError, ArgumentValueError: for another number of arguments than one, or one that cannot be used.
        CallbackError: in a step, if a gradient is sparse or, with `value`, complex.

    Source: for `agc`, Brock et al., "High-Performance Large-Scale Image Recognition Without Normalization",
    https://arxiv.org/abs/2102.06171, equation 3. The authors leave out the last linear layer; this clips it too.

    Example:
        >>> from treadle import CustomCallback, Read, UpdateEnd, toy_learner
        >>> show = CustomCallback(lambda learner: print(round(learner.step.grads["weight"].item(), 3)), UpdateEnd,
        ...                       state_access={"step.grads": Read})
        >>> result = toy_learner(ClipGradients(norm=1.0), show, nbatches=2).fit(1)
        -1.0
        -1.0
    """

    guard = True
    state_access = {"step.grads": Write, "optimizer": Read}
    run_after = ("centralise_gradients",)

    @classmethod
    def example(cls) -> Self:
        return cls(norm=1.0)

    def __init__(self, norm: float | None = None, value: float | None = None, agc: float | None = None) -> None:
        passed = {name: limit for name, limit in (("norm", norm), ("value", value), ("agc", agc)) if limit is not None}
        if len(passed) != 1:
            listed = " and ".join(passed) or "none of them"
            raise ArgumentValueError(
                f"ClipGradients takes exactly one of norm, value and agc, got {listed}.\n"
                f"Fix: choose one:\n    ClipGradients(norm=1.0)"
            )
        for name, limit in passed.items():
            passed[name] = real_number(
                limit, f"ClipGradients({name})", f"ClipGradients({name}=1.0)", above=0, finite=True
            )
        self.norm, self.value, self.agc = (passed.get(name) for name in ("norm", "value", "agc"))

    def on_update_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        parameters = update_under_way(learner).parameters(learner)
        with refused_if_unusual(self, parameters):
            if self.norm is not None:
                nn.utils.clip_grad_norm_(parameters, self.norm)
            elif self.value is not None:
                nn.utils.clip_grad_value_(parameters, self.value)
            elif self.agc is not None:
                clip_adaptively(parameters, self.agc)


@torch.no_grad()
def clip_adaptively(parameters: Iterable[nn.Parameter], clipping: float) -> None:
    """Clip each unit's gradients to a multiple of the norm of its weights.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        >>> layer.weight.grad = torch.tensor([[0.0, 10.0]])
        >>> clip_adaptively(layer.parameters(), 0.1)
        >>> layer.weight.grad
        tensor([[0.0000, 0.5000]])
    """
    for parameter in parameters:
        if parameter.grad is not None:
            limit = clipping * unit_norms(parameter).clamp(min=LEAST_NORM)
            norms = unit_norms(parameter.grad)
            parameter.grad.mul_(torch.where(norms > limit, limit / norms, 1.0))


def unit_norms(tensor: torch.Tensor) -> torch.Tensor:
    """The norm of each unit's weights, in a shape that multiplies with them; of a vector, that of the whole."""
    dim = tuple(range(1, tensor.ndim)) or None
    norms: torch.Tensor = torch.linalg.vector_norm(tensor, dim=dim, keepdim=True)
    return norms
