"""Checks of what the optimizer holds."""

from __future__ import annotations

from typing import Any

from torch import nn
from treadle.authoring import by_name

from treadle_sanity.trial import parameters

#: The maximum number of names in a message; the rest is counted.
MAX_NAMES = 5


def holds_some(learner: Any) -> bool | str:
    """Whether there is a parameter that the optimizer can train."""
    wanted, held = trainable(learner), held_by(learner)
    if not wanted or any(parameter in held for parameter in wanted):
        return True
    return f"the optimizer holds {counted(len(held), 'tensor')}, and none is one of the model's {len(wanted)}."


def holds_all(learner: Any) -> bool | str:
    """Whether the optimizer holds every parameter that requires gradients."""
    held = held_by(learner)
    missing = [name for parameter, name in trainable(learner).items() if parameter not in held]
    if not missing or holds_some(learner) is not True:
        return True
    return f"the optimizer does not hold {listed(missing)}."


def holds_no_other(learner: Any) -> bool | str:
    """Whether all that the optimizer holds belongs to the model or the loss function."""
    known = {*parameters(learner)}
    if isinstance(learner.lossfn, nn.Module):
        known |= {*learner.lossfn.parameters()}
    other = [f"one of shape {tuple(tensor.shape)}" for tensor in held_by(learner) if tensor not in known]
    if not other or holds_some(learner) is not True:
        return True
    return f"of what the optimizer holds, neither model nor loss function has {listed(other)}."


def trainable(learner: Any) -> dict[nn.Parameter, str]:
    """The parameters that require gradients, with their names."""
    return {parameter: name for parameter, name in parameters(learner).items() if parameter.requires_grad}


def held_by(learner: Any) -> dict[Any, None]:
    """What the optimizers hold, in order."""
    groups = (group for optimizer in by_name(learner.optimizer).values() for group in optimizer.param_groups)
    return dict.fromkeys(tensor for group in groups for tensor in group["params"])


def listed(names: list[str]) -> str:
    """The first of the names, and the number of the others."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def counted(number: int, what: str) -> str:
    """A number with its noun."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
