"""The state of one or several optimizers, and of which parameters each holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from treadle_checkpoint.errors import MismatchError, NotResumableError

Optimizer = torch.optim.Optimizer


def optimizers_by_name(optimizer: Any) -> dict[str, Optimizer]:
    """One or several optimizers, by the name of their model; a single one has the empty name."""
    return {"": optimizer} if isinstance(optimizer, Optimizer) else dict(optimizer)


def named_parameters(models: Mapping[str, nn.Module], lossfn: Any) -> dict[str, nn.Parameter]:
    """All parameters that a run has, by name: those of the models and of the loss function."""
    found: dict[str, nn.Parameter] = {}
    for prefix, module in models.items():
        head = f"{prefix}." if prefix else ""
        found |= {head + name: parameter for name, parameter in module.named_parameters()}
    if isinstance(lossfn, nn.Module):
        found |= {f"lossfn:{name}": parameter for name, parameter in lossfn.named_parameters()}
    return found


def gather(optimizer: Any, parameters: Mapping[str, nn.Parameter]) -> dict[str, Any]:
    """The states of optimizers, a tree of tensors and plain values; parameters are told by name.

    Args:
        optimizer: An optimizer, or a mapping of them.
        parameters: See `named_parameters`.

    Raises:
        NotResumableError: if an optimizer holds a parameter that belongs to no model.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    found = {}
    for which, each in optimizers_by_name(optimizer).items():
        state = each.state_dict()
        groups = [[names.get(id(parameter)) for parameter in group["params"]] for group in each.param_groups]
        for i, group in enumerate(groups):
            if None in group:
                shape = tuple(each.param_groups[i]["params"][group.index(None)].shape)
                raise NotResumableError(
                    f"{title(which)} holds a parameter of shape {shape} that belongs neither to the model nor to the "
                    f"loss function, so it would be in no checkpoint. Make it a parameter of the model."
                )
        found[which] = {"class": type(each).__qualname__, "state": state, "groups": groups}
    return found


def check(optimizer: Any, saved: Mapping[str, Any], parameters: Mapping[str, nn.Parameter]) -> None:
    """Refuse optimizers that cannot take over what `gather` gave.

    Raises:
        MismatchError: if they are others, or hold other parameters.
    """
    own = optimizers_by_name(optimizer)
    if set(own) != set(saved):
        raise MismatchError(
            f"The checkpoint has the optimizers {listed(saved)}, and the learner has {listed(own)}. "
            f"Resume with a learner built as the saved one was."
        )
    for which, each in own.items():
        if type(each).__qualname__ != saved[which]["class"]:
            raise MismatchError(
                f"{title(which)} was saved as {saved[which]['class']} and is {type(each).__qualname__}. "
                f"Resume with optimizer=torch.optim.{saved[which]['class']}."
            )
        for name in (name for group in saved[which]["groups"] for name in group):
            if name not in parameters:
                raise MismatchError(
                    f"{title(which)} held the parameter {name}, which the model has not. Build the same model."
                )


def put(optimizer: Any, saved: Mapping[str, Any], parameters: Mapping[str, nn.Parameter]) -> None:
    """Give optimizers back what `gather` gave; also the parameter groups, if those are other ones by now.

    Args:
        optimizer: An optimizer, or a mapping of them; `check` found nothing.
        saved: What `gather` gave; its tensors go into the optimizers as they are.
        parameters: See `named_parameters`.
    """
    for which, each in optimizers_by_name(optimizer).items():
        state, groups = saved[which]["state"], saved[which]["groups"]
        wanted = [[parameters[name] for name in group] for group in groups]
        if [[id(p) for p in group["params"]] for group in each.param_groups] != [[id(p) for p in g] for g in wanted]:
            each.param_groups.clear()
            each.state.clear()
            for group in wanted:
                each.add_param_group({"params": group})
        each.load_state_dict(state)
        flat = [parameter for group in wanted for parameter in group]
        for index, values in state["state"].items():
            keep_type(each.state[flat[index]], values)


def keep_type(loaded: dict[str, Any], saved: Mapping[str, Any]) -> None:
    """Undo that `load_state_dict` gave tensors the type of their parameter's numbers, which loses bits."""
    for key, value in saved.items():
        own = loaded.get(key)
        if isinstance(value, torch.Tensor) and isinstance(own, torch.Tensor) and own.dtype != value.dtype:
            loaded[key] = value.to(own.device)


def title(which: str) -> str:
    """An optimizer, in a message."""
    return f"The optimizer {which!r}" if which else "The optimizer"


def listed(names: Iterable[str]) -> str:
    """Names, in a message."""
    return ", ".join(name or "(a single one)" for name in names) or "(none)"
