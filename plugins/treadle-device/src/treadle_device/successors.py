"""Which parameter replaced which, and optimizers that follow."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from treadle.errors import ArgumentValueError

Parameters = Mapping[str, torch.nn.Parameter]

CANNOT_FOLLOW = (
    "move_model returned a module {}, so the optimizer cannot follow.\n"
    "Fix: change the model's structure before it goes into the Learner."
)


def successors(before: Parameters, after: Parameters) -> dict[torch.Tensor, torch.Tensor]:
    """The new parameter for each one that was replaced, matched by name, or else by order.

    Raises:
        ArgumentValueError: if the number of parameters or a shape differs.
    """
    kept = set(after.values())
    if all(parameter in kept for parameter in before.values()):
        return {}
    if len(before) != len(after):
        raise ArgumentValueError(
            CANNOT_FOLLOW.format(f"with {len(after)} parameters in place of one with {len(before)}")
        )
    names = before if before.keys() == after.keys() else after
    pairs = dict(zip(before.values(), (after[name] for name in names), strict=True))
    for (name, old), new in zip(before.items(), pairs.values(), strict=True):
        if old.shape != new.shape:
            shapes = f"{tuple(new.shape)} in place of {tuple(old.shape)}"
            raise ArgumentValueError(CANNOT_FOLLOW.format(f"in which the parameter {name} has the shape {shapes}"))
    return {old: new for old, new in pairs.items() if old is not new}


def follow(optimizer: torch.optim.Optimizer, replaced: Mapping[torch.Tensor, torch.Tensor]) -> None:
    """Let an optimizer hold new parameters in place of old ones, with its state on their device.

    Hyperparameters and the order of groups stay. If nothing was replaced, only the state moves.
    """
    state = optimizer.state_dict()  # by the parameters' positions, so it fits the new ones
    for group in optimizer.param_groups:
        group["params"][:] = [replaced.get(parameter, parameter) for parameter in group["params"]]
    optimizer.load_state_dict(state)  # casts each tensor as the parameter it belongs to asks for
