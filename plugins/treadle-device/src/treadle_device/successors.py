"""Which parameter took the place of which, and optimizers that follow."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from treadle.errors import ArgumentValueError

Parameters = Mapping[str, torch.nn.Parameter]


def successors(before: Parameters, after: Parameters) -> dict[torch.Tensor, torch.Tensor]:
    """The parameters that were replaced, with those in their place: by name, or else by order.

    Args:
        before: A module's parameters by name.
        after: Those of the module in its place.

    Raises:
        ArgumentValueError: if their numbers or shapes differ.

    Example:
        >>> old, new = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
        >>> pairs = successors(dict(old.named_parameters()), dict(new.named_parameters()))
        >>> pairs[old.weight] is new.weight
        True
    """
    kept = set(after.values())
    if all(parameter in kept for parameter in before.values()):
        return {}
    if len(before) != len(after):
        raise ArgumentValueError(
            f"move_model returned a module with {len(after)} parameters in place of one with {len(before)}, so "
            f"the optimizer cannot follow. Change the model's structure before it goes into the Learner."
        )
    names = before if before.keys() == after.keys() else after
    pairs = dict(zip(before.values(), (after[name] for name in names), strict=True))
    for (name, old), new in zip(before.items(), pairs.values(), strict=True):
        if old.shape != new.shape:
            raise ArgumentValueError(
                f"move_model returned a module in which the parameter {name} has the shape {tuple(new.shape)} in "
                f"place of {tuple(old.shape)}, so the optimizer cannot follow. Change the model's structure before "
                f"it goes into the Learner."
            )
    return {old: new for old, new in pairs.items() if old is not new}


def follow(optimizer: torch.optim.Optimizer, replaced: Mapping[torch.Tensor, torch.Tensor]) -> None:
    """Let an optimizer hold new parameters in place of old ones, its state moved to where they are.

    Args:
        optimizer: The optimizer, changed in place; hyperparameters and the order of groups stay.
        replaced: The new parameter for each one that was replaced. Without any, only the state moves.
    """
    state = optimizer.state_dict()  # by the parameters' positions, so it fits the new ones
    for group in optimizer.param_groups:
        group["params"][:] = [replaced.get(parameter, parameter) for parameter in group["params"]]
    optimizer.load_state_dict(state)  # casts each tensor as the parameter it belongs to asks for
