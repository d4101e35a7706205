"""`model_of`: the one model that an engine trains."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.parameter import is_lazy
from treadle.authoring import by_name
from treadle.errors import ArgumentValueError


def model_of(learner: Any, name: str) -> torch.nn.Module:
    """The model of a learner, if many processes can train it.

    Raises:
        ArgumentValueError: if there are several, or it has no parameters, or some whose shape is not known. The
            message names the callback.
    """
    models = by_name(learner.model)
    if len(models) != 1:
        raise ArgumentValueError(
            f"{name} trains one model with many processes, and the learner has {len(models)}: {', '.join(models)}.\n"
            f"Fix: put them into one module:\n    Learner(torch.nn.ModuleDict(models), ...)"
        )
    model: torch.nn.Module
    (model,) = models.values()
    parameters = list(model.parameters())
    if not parameters:
        raise ArgumentValueError(
            f"{name} shares the gradients of a model's parameters, and {type(model).__name__} has none.\n"
            f"Fix: leave {name} out of the learner's callbacks."
        )
    if any(map(is_lazy, parameters)):
        raise ArgumentValueError(
            f"{type(model).__name__} has parameters whose shape is not known before its first batch, and {name} makes "
            f"all parameters equal before it.\nFix: apply it once, before the learner is made:\n    model(xs)"
        )
    return model


def check_optimizers(learner: Any, name: str) -> None:
    """Refuse optimizers of parameters that are not the model's. The message names the callback.

    Raises:
        ArgumentValueError: if there are any.
    """
    known = {id(parameter) for model in by_name(learner.model).values() for parameter in model.parameters()}
    for optimizer in by_name(learner.optimizer).values():
        others = [p for group in optimizer.param_groups for p in group["params"] if id(p) not in known]
        if others:
            raise ArgumentValueError(
                f"The optimizer has {len(others)} parameters that are not the model's, as those of a loss function, "
                f"and {name} shares the gradients of the model's alone.\n"
                f"Fix: make what they belong to a part of the model."
            )
