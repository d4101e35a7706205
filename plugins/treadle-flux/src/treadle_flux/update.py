"""`update`: one step of an optimizer by gradients that are passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from treadle.errors import ArgumentValueError

from treadle_flux.params import check_optimizer, params, refuse_not_held

EXAMPLE = "update(optimizer, params(model), torch.autograd.grad(loss, tuple(params(model))))"


@torch.no_grad()
def update(optimizer: torch.optim.Optimizer, parameters: Any, grads: Any) -> None:
    """Change parameters by gradients, as the optimizer does it.

    Others that it holds stay as they are, and so do the `.grad` of all of them.

    Args:
        parameters: What `params` takes: models, tensors.
        grads: A gradient or None for each of them, in order, as `torch.autograd.grad` returns them; or a mapping of
            parameters to gradients; or, for one parameter, its gradient.

    Raises:
        ArgumentTypeError, ArgumentValueError: if the gradients do not belong to the parameters, or the optimizer does
            not hold them.

    Example:
        >>> weight = torch.ones(2, requires_grad=True)
        >>> update(torch.optim.SGD([weight], lr=0.1), weight, torch.tensor([1.0, 2.0]))
        >>> weight
        tensor([0.9000, 0.8000], requires_grad=True)
    """
    check_optimizer(optimizer)
    changed = params(parameters)
    refuse_not_held(changed, optimizer)
    if isinstance(grads, torch.Tensor):
        grads = [grads]
    by_id = {id(parameter): grad for parameter, grad in grads.items()} if isinstance(grads, Mapping) else None
    found = list(grads) if by_id is None else [by_id.get(id(parameter)) for parameter in changed]
    if len(found) != len(changed):
        raise ArgumentValueError(
            f"There are {len(found)} gradients for {len(changed)} parameters.\n"
            f"Fix: pass one for each, or None:\n    {EXAMPLE}"
        )
    for i, (parameter, grad) in enumerate(zip(changed, found, strict=True)):
        if grad is not None and getattr(grad, "shape", None) != parameter.shape:
            got = f"one of shape {tuple(grad.shape)}" if isinstance(grad, torch.Tensor) else f"{grad!r:.100}"
            raise ArgumentValueError(
                f"The gradient of parameter {i}, of shape {tuple(parameter.shape)}, is {got}.\n"
                f"Fix: pass them in the order of the parameters:\n    {EXAMPLE}"
            )
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    before = [parameter.grad for parameter in held]
    try:
        for parameter in held:
            parameter.grad = None
        for parameter, grad in zip(changed, found, strict=True):
            parameter.grad = grad
        optimizer.step()
    finally:
        for parameter, grad in zip(held, before, strict=True):
            parameter.grad = grad
