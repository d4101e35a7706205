"""What of a model, a loss function and an optimizer a compiled step does not compute as one that is written does."""

from __future__ import annotations

import importlib

import torch
from torch import nn
from treadle.errors import ArgumentValueError, CallbackError
from treadle.operations import needs_closure


def refuse_unfit(module: nn.Module, optimizer: torch.optim.Optimizer, *, wants_grads: bool) -> None:
    """Refuse parameters whose gradients a unit would not compute as a step that is written does.

    Args:
        module: The model and the loss function.
        wants_grads: Whether somebody looks at the gradients.
    """
    named = dict(module.named_parameters())
    known = {id(parameter) for parameter in named.values()}
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    others = sum(identity not in known for identity in held)
    if others:
        raise ArgumentValueError(
            f"CompiledStep does not find {others} of the optimizer's parameters in the model, nor in a loss "
            f"function that is a torch.nn.Module.\nFix: make what holds them a part of one of these; or compile "
            f"the model alone:\n    Compile()"
        )
    hooked = [name for name, parameter in named.items() if has_hooks(parameter)]
    if hooked:
        raise ArgumentValueError(
            f"CompiledStep does not call hooks of gradients, and {', '.join(hooked)} has some.\n"
            f"Fix: compile the model alone:\n    Compile()"
        )
    apart = [name for name, parameter in named.items() if parameter.requires_grad and id(parameter) not in held]
    if apart and wants_grads:
        raise ArgumentValueError(
            f"CompiledStep computes the gradients of the optimizer's parameters alone; {', '.join(apart)} would "
            f"have one as well in a step that is not compiled, and a callback looks at gradients.\n"
            f"Fix: freeze what is not trained:\n    parameter.requires_grad_(False)"
        )


def has_hooks(parameter: nn.Parameter) -> bool:
    """Whether somebody is called with a parameter's gradient."""
    return bool(parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None))


def refuse_kept_outputs(module: nn.Module) -> None:
    """Refuse a model that keeps a tensor of its forward pass, of which outside of the unit nothing can be read."""
    is_wrapped = getattr(torch._C._functorch, "is_functorch_wrapped_tensor", lambda value: False)
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if isinstance(value, torch.Tensor) and is_wrapped(value):
                raise CallbackError(
                    f"The forward pass keeps a tensor as `{path}.{name}`, which a compiled step cannot give out.\n"
                    f"Fix: let the model return it, or make it a buffer; or compile the model alone:\n    Compile()"
                )


def is_plain(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the step of an optimizer is one of torch's own, so that it can be compiled with what is before it."""
    ways = any(group.get(way) for group in optimizer.param_groups for way in ("foreach", "fused", "differentiable"))
    own = type(optimizer).__module__.startswith("torch.optim.")
    return own and not is_heard(optimizer) and not ways and not needs_closure(optimizer)


def is_heard(optimizer: torch.optim.Optimizer) -> bool:
    """Whether somebody is called when an optimizer steps: by hooks of its own or of all, or in place of its `step`."""
    hooks = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    return any(hooks) or any(OF_ALL) or "step" in vars(optimizer)


#: The hooks that every optimizer calls; torch.optim hides the name of the module.
OF_ALL = tuple(
    getattr(importlib.import_module("torch.optim.optimizer"), f"_global_optimizer_{when}_hooks")
    for when in ("pre", "post")
)
