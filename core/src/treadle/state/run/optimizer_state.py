"""The state of one or several optimizers, and of which parameters each holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from treadle.errors import MismatchError, NotResumableError
from treadle.state.propdict import by_name


def named_parameters(model: Any, lossfn: Any) -> dict[str, nn.Parameter]:
    """All parameters that a run has, by name: those of the models and of the loss function."""
    parameters: dict[str, nn.Parameter] = {}
    for prefix, module in by_name(model).items():
        start = f"{prefix}." if prefix else ""
        parameters |= {start + name: parameter for name, parameter in module.named_parameters()}
    if isinstance(lossfn, nn.Module):
        parameters |= {f"lossfn:{name}": parameter for name, parameter in lossfn.named_parameters()}
    return parameters


def capture(optimizer: Any, parameters: Mapping[str, nn.Parameter]) -> dict[str, Any]:
    """The states of optimizers, which refer to parameters by name.

    Args:
        optimizer: An optimizer, or a mapping of them.
        parameters: See `named_parameters`.

    Raises:
        NotResumableError: if an optimizer holds a parameter that belongs to no model.
    """
    names = {id(parameter): name for name, parameter in parameters.items()}
    captured = {}
    for model, one in by_name(optimizer).items():
        groups = [[names.get(id(parameter)) for parameter in group["params"]] for group in one.param_groups]
        for group, group_names in zip(one.param_groups, groups, strict=True):
            if None in group_names:
                shape = tuple(group["params"][group_names.index(None)].shape)
                raise NotResumableError(
                    f"{title(model)} holds a parameter of shape {shape} that belongs neither to the model nor to the "
                    f"loss function, so it would be in no checkpoint.\nFix: make it a parameter of the model"
                )
        captured[model] = {"class": type(one).__qualname__, "state": one.state_dict(), "groups": groups}
    return captured


def check(optimizer: Any, saved: Mapping[str, Any], parameters: Mapping[str, nn.Parameter]) -> None:
    """Refuse optimizers that cannot take over what `capture` returned.

    Raises:
        MismatchError: if they are others, or hold other parameters.
    """
    optimizers = by_name(optimizer)
    if set(optimizers) != set(saved):
        raise MismatchError(
            f"The checkpoint has the optimizers {listed(saved)}, and the learner has {listed(optimizers)}.\n"
            f"Fix: resume with a learner built as the saved one was"
        )
    for model, one in optimizers.items():
        kind = saved[model]["class"]
        if type(one).__qualname__ != kind:
            raise MismatchError(
                f"{title(model)} was saved as {kind} and is {type(one).__qualname__}.\n"
                f"Fix: resume with the same optimizer:\n    optimizer=torch.optim.{kind}"
            )
        for name in (name for group in saved[model]["groups"] for name in group):
            if name not in parameters:
                raise MismatchError(
                    f"{title(model)} held the parameter {name}, which the model does not have.\n"
                    f"Fix: build the model as it was when it was saved"
                )


def put_back(optimizer: Any, saved: Mapping[str, Any], parameters: Mapping[str, nn.Parameter]) -> None:
    """Give optimizers back what `capture` returned; also the parameter groups, if those are other ones by now.

    Args:
        optimizer: An optimizer, or a mapping of them, that passed `check`.
        saved: What `capture` returned; its tensors become the optimizers'.
        parameters: See `named_parameters`.
    """
    for model, one in by_name(optimizer).items():
        state, groups = saved[model]["state"], saved[model]["groups"]
        wanted = [[parameters[name] for name in group] for group in groups]
        if [[id(p) for p in group["params"]] for group in one.param_groups] != [[id(p) for p in g] for g in wanted]:
            one.param_groups.clear()
            one.state.clear()
            for group in wanted:
                one.add_param_group({"params": group})
        one.load_state_dict(state)
        in_order = [parameter for group in wanted for parameter in group]
        for index, values in state["state"].items():
            keep_type(one.state[in_order[index]], values)


def replaced_tensors(optimizer: Any) -> list[torch.Tensor]:
    """The tensors in the states of optimizers that take others in their place in `put_back`, and leave these alone."""
    return [
        value
        for one in by_name(optimizer).values()
        if type(one).load_state_dict is torch.optim.Optimizer.load_state_dict
        for state in one.state.values()
        for value in (state.values() if isinstance(state, dict) else ())
        if isinstance(value, torch.Tensor)
    ]


def keep_type(loaded: dict[str, Any], saved: Mapping[str, Any]) -> None:
    """Undo that `load_state_dict` gave tensors the type of their parameter's numbers, which loses bits."""
    for key, value in saved.items():
        tensor = loaded.get(key)
        if isinstance(value, torch.Tensor) and isinstance(tensor, torch.Tensor) and tensor.dtype != value.dtype:
            loaded[key] = value.to(tensor.device)


def title(model: str) -> str:
    """An optimizer, in a message."""
    return f"The optimizer {model!r}" if model else "The optimizer"


def listed(names: Iterable[str]) -> str:
    """Names, in a message."""
    return ", ".join(name or "(a single one)" for name in names) or "(none)"
