"""Models and optimizers, one or several: checked, in one form, and with their parameters by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from treadle.arguments import function
from treadle.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from treadle.operations import name_of
from treadle.state.propdict import PropDict, named

if TYPE_CHECKING:
    from treadle.learner import Learner


def as_model(model: Any) -> Any:
    """A module, or a `PropDict` of modules by name.

    Raises:
        ArgumentTypeError: if it is neither.
    """
    if isinstance(model, Mapping):
        parts = named(model)
        if not parts or not all(isinstance(name, str) and isinstance(part, nn.Module) for name, part in parts.items()):
            raise ArgumentTypeError(
                f"A mapping of models must map names to modules, got {model!r}.\n"
                f"Fix: write, for example:\n    {{'generator': nn.Linear(1, 1)}}"
            )
        model = PropDict(parts)
    elif isinstance(model, type):
        raise ArgumentTypeError(
            f"The model must be a module or a mapping of modules, got the class {model.__name__}.\n"
            f"Fix: make an instance:\n    {model.__name__}(...)"
        )
    elif not isinstance(model, nn.Module):
        raise ArgumentTypeError(
            f"The model must be a module or a mapping of modules, got a {type(model).__name__}.\n"
            f"Fix: pass a torch.nn.Module."
        )
    return model


def parameters_of(model: Any) -> PropDict:
    """The parameters by name; for several models a `PropDict` of them for each."""
    if isinstance(model, nn.Module):
        return PropDict(dict(model.named_parameters()))
    return PropDict({name: parameters_of(part) for name, part in named(model).items()})


def models_of(model: Any) -> list[nn.Module]:
    """The models, one or several, as a list."""
    return [model] if isinstance(model, nn.Module) else list(named(model).values())


def as_optimizer(optimizer: Any, model: Any) -> Any:
    """An optimizer, or a `PropDict` of optimizers by the name of their model; None for models without parameters.

    Args:
        optimizer: An optimizer, a function that makes one of parameters, or for several models a
            mapping of these by the name of the model.
        model: What `as_model` returned.

    Raises:
        ArgumentTypeError: if it is none of these, or names a model that does not exist.
    """
    if isinstance(optimizer, Mapping):
        if isinstance(model, nn.Module):
            raise ArgumentTypeError(
                "There are several optimizers and one model.\nFix: pass one optimizer, or a mapping of models."
            )
        for name in optimizer:
            if name not in model:
                raise ArgumentTypeError(
                    f"There is an optimizer for {name!r}, and no such model. {did_you_mean(str(name), model)}\n"
                    f"Fix: give the optimizer the name of its model."
                )
        return PropDict({name: as_optimizer(part, model[name]) for name, part in named(optimizer).items()})
    parameters = list(dict.fromkeys(parameter for part in models_of(model) for parameter in part.parameters()))
    if isinstance(optimizer, torch.optim.Optimizer) or (optimizer is None and not parameters):
        return optimizer
    no_optimizer = isinstance(optimizer, type) and not issubclass(optimizer, torch.optim.Optimizer)
    if not callable(optimizer) or no_optimizer:
        raise ArgumentTypeError(
            f"The optimizer must be an instance or a function of the parameters, got {optimizer!r}.\n"
            f"Fix: write, for example:\n    optimizer=torch.optim.Adam"
        )
    if not isinstance(optimizer, type):
        example = f"optimizer=functools.partial({name_of(optimizer)}, lr=0.1)"
        function(optimizer, "optimizer", example, takes=["parameters"])
    if not parameters:
        return None
    try:
        made = optimizer(parameters)
    except TypeError as error:
        error.add_note(
            f"Raised while {name_of(optimizer)} was called with the parameters alone.\n"
            f"Fix: pass it with its other arguments:\n"
            f"    optimizer=functools.partial({name_of(optimizer)}, lr=0.1)"
        )
        raise
    if not isinstance(made, torch.optim.Optimizer):
        raise ArgumentTypeError(
            f"{name_of(optimizer)} made {made!r} of the parameters, which is not a torch optimizer.\n"
            f"Fix: pass a function that returns one:\n    optimizer=torch.optim.Adam"
        )
    return made


def as_lossfn(lossfn: Any) -> Callable[..., Any] | None:
    """A function of outputs and targets; or None, where the model's output carries the loss.

    Raises:
        ArgumentTypeError: if it is not one, for example a class.
    """
    if lossfn is None:
        return None
    if isinstance(lossfn, type):
        raise ArgumentTypeError(
            f"lossfn must be a function of outputs and targets, got the class {lossfn.__name__}.\n"
            f"Fix: make an instance:\n    {lossfn.__name__}()"
        )
    return function(lossfn, "lossfn", "Learner(model, torch.nn.functional.mse_loss)")


def optimizers_of(optimizer: Any) -> list[torch.optim.Optimizer]:
    """The optimizers, one or several, as a list; one that several models share counts once."""
    several = dict.fromkeys(named(optimizer).values()) if isinstance(optimizer, Mapping) else [optimizer]
    return [one for one in several if one is not None]


def without_optimizer(models: Iterable[nn.Module], optimizers: Iterable[torch.optim.Optimizer]) -> list[nn.Parameter]:
    """The parameters of the models that no optimizer holds."""
    groups = [group["params"] for optimizer in optimizers for group in optimizer.param_groups]
    held = {id(parameter) for group in groups for parameter in group}
    return [parameter for model in models for parameter in model.parameters() if id(parameter) not in held]


def parameters_in(models: Iterable[nn.Module], optimizers: Iterable[torch.optim.Optimizer]) -> list[nn.Parameter]:
    """The parameters of models and those that optimizers hold, each once."""
    held = [group["params"] for optimizer in optimizers for group in optimizer.param_groups]
    return list(dict.fromkeys(chain(*(model.parameters() for model in models), *held)))


def clear_gradients(learner: Learner) -> None:
    """Clear the gradients of all parameters, those of the models and those that an optimizer holds."""
    others = learner.without_optimizer
    if others is None:
        others = learner.without_optimizer = without_optimizer(learner.models, learner.optimizers)
    for parameter in others:
        parameter.grad = None
    for optimizer in learner.optimizers:
        if type(optimizer).zero_grad is torch.optim.Optimizer.zero_grad:  # the same, for a tenth of its cost
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
        else:
            optimizer.zero_grad()


HeldGradients = list[tuple[torch.Tensor, torch.Tensor | None]]


def gradients_of(learner: Learner) -> HeldGradients:
    """The gradients of all parameters, those of the models and those that an optimizer holds."""
    return [(parameter, parameter.grad) for parameter in parameters_in(learner.models, learner.optimizers)]


def put_back_gradients(gradients: HeldGradients) -> None:
    """Give parameters the gradients that they had."""
    for parameter, gradient in gradients:
        parameter.grad = gradient


def has_parameters(models: Iterable[nn.Module]) -> bool:
    """Whether any model has a parameter."""
    return any(True for model in models for _ in model.parameters())


def refuse_nothing_to_train(models: Iterable[nn.Module], optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Refuse to train where there is no parameter.

    Raises:
        ArgumentValueError: naming the models.
    """
    models = list(models)
    if not has_parameters(models) and not parameters_in(models, optimizers):
        names = ", ".join(type(part).__name__ for part in models)
        raise ArgumentValueError(
            f"The model {names} has no parameters, so there is nothing to train.\n"
            f"Fix: pass one that has some, or use this one as it is:\n    learner.evaluate(data)"
        )


def warn_if_untrained(models: Iterable[nn.Module], optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Warn if no optimizer holds a parameter of a model, as after a new model was set."""
    models = list(models)
    held = {id(parameter) for one in optimizers for group in one.param_groups for parameter in group["params"]}
    if has_parameters(models) and not any(
        id(parameter) in held for model in models for parameter in model.parameters()
    ):
        from loguru import logger  # needed rarely, and loaded then

        logger.warning(
            "No optimizer holds a parameter of the model, so the model stays as it is.\n"
            "Fix: after setting a new model, make a new optimizer:\n"
            "    learner.optimizer = torch.optim.Adam(learner.model.parameters())"
        )
