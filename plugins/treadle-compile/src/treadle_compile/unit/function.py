"""The function that is compiled: a training step that changes nothing, and returns what it would have changed."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad_and_value
from torch.optim import Optimizer
from treadle.operations import carried_loss

from treadle_compile.unit.plain_optimizer import plain_class, step_of


class ModelAndLoss(nn.Module):
    """A model and its loss function, whose parameters it has as well."""

    def __init__(self, model: nn.Module, lossfn: Any) -> None:
        super().__init__()
        self.model, self.lossfn = model, lossfn

    def forward(self, xs: Any, ys: Any) -> tuple[torch.Tensor, Any]:
        if isinstance(xs, torch.Tensor):
            yhats = self.model(xs)
        elif isinstance(xs, (tuple, list)):
            yhats = self.model(*xs)
        else:
            yhats = self.model(**xs) if isinstance(xs, Mapping) else self.model(xs)
        loss = carried_loss(yhats) if self.lossfn is None else self.lossfn(yhats, ys)
        return loss, yhats


def step_function(
    module: ModelAndLoss,
    optimizer: Optimizer,
    places: Mapping[str, int],
    changed: Sequence[str],
    *,
    updates: bool,
    wants_grads: bool,
) -> Callable[..., Any]:
    """A training step as a function.

    It takes the values and states of the optimizer's parameters, the parameter groups, their learning rates as tensors,
    the buffers that change, and the batch. It returns the loss, the outputs, and the new buffers, gradients, values and
    states of the parameters that are trained.

    Args:
        places: The parameters that are trained, and where each stands among those of the optimizer.
        changed: The buffers that a forward pass changes.
        updates: Whether the optimizer's step is a part of it.
        wants_grads: Whether it returns the gradients.
    """
    trained, buffer_names = list(places), list(changed)
    cls, defaults = plain_class(type(optimizer)), dict(optimizer.defaults)
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    names = [[name for name in group if name not in ("params", "lr")] for group in optimizer.param_groups]
    where = list(places.values())

    def unit(
        values: list[torch.Tensor],
        states: list[dict[str, Any]],
        groups: list[dict[str, Any]],
        rates: list[torch.Tensor],
        buffers: list[torch.Tensor],
        xs: Any,
        ys: Any,
    ) -> Any:
        def loss_of(part: list[torch.Tensor]) -> Any:
            copies = [buffer.clone() for buffer in buffers]
            replaced = dict(zip(trained, part, strict=True)) | dict(zip(buffer_names, copies, strict=True))
            loss, yhats = functional_call(module, replaced, (xs, ys))
            return loss.reshape(()), (loss, yhats, copies)

        grads, (_, (loss, yhats, copies)) = grad_and_value(loss_of, has_aux=True)([values[i] for i in where])
        new: Any = None
        new_states: Any = []
        if updates:
            of_all: list[Any] = [None] * len(values)
            for i, grad in zip(where, grads, strict=True):
                of_all[i] = grad
            settings = [{name: group[name] for name in own} for group, own in zip(groups, names, strict=True)]
            new, new_states = step_of(cls, defaults, settings, sizes, rates, values, of_all, states)
            new, new_states = [new[i] for i in where], [new_states[i] for i in where]
        return loss, yhats, copies, grads if wants_grads else [], new, new_states

    # What torch has compiled, and how often, it keeps with the code: each unit has its own.
    code = unit.__code__.replace()
    return types.FunctionType(code, unit.__globals__, unit.__name__, None, unit.__closure__)
