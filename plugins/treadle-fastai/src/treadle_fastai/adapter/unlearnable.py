"""A loss whose backward pass leaves gradients of 0: what `skip_bwd` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class Unlearnable(torch.autograd.Function):
    """The value of a loss; its gradient with respect to every parameter is 0."""

    @staticmethod
    def forward(ctx: Any, loss: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(*parameters)
        return loss.detach().clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return None, *map(torch.zeros_like, ctx.saved_tensors)


def without_gradient(loss: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    """A loss of the same value, whose backward pass leaves gradients of 0 for these parameters.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor(3.0))
        >>> loss = without_gradient(weight * 2, [weight])
        >>> loss.backward()
        >>> loss.item(), weight.grad.item()
        (6.0, 0.0)
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    result: torch.Tensor = Unlearnable.apply(loss, *trained)  # type: ignore[no-untyped-call]
    return result


def gradients_of(parameters: Sequence[torch.nn.Parameter]) -> list[tuple[int, int]]:
    """What tells whether somebody has changed the gradients of parameters."""
    return [
        (0, 0) if parameter.grad is None else (id(parameter.grad), parameter.grad._version) for parameter in parameters
    ]
