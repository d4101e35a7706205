"""Checks of what the optimizer holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from treadle_sanity.trial import parameters

#: So many names are told; the rest is counted.
TOLD = 5


def holds_some(learner: Any) -> bool | str:
    """Whether there is a parameter that the optimizer can train."""
    wanted, held = trainable(learner), held_by(learner)
    if not wanted or any(parameter in held for parameter in wanted):
        return True
    return f"the optimizer holds {counted(len(held), 'tensor')}, and none is one of the model's {len(wanted)}."


def holds_all(learner: Any) -> bool | str:
    """Whether the optimizer holds every parameter that asks for gradients."""
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
    other = [f"one of shape {tuple(each.shape)}" for each in held_by(learner) if each not in known]
    if not other or holds_some(learner) is not True:
        return True
    return f"of what the optimizer holds, neither model nor loss function has {listed(other)}."


def trainable(learner: Any) -> dict[nn.Parameter, str]:
    """The parameters that ask for gradients, with their names."""
    return {parameter: name for parameter, name in parameters(learner).items() if parameter.requires_grad}


def held_by(learner: Any) -> dict[Any, None]:
    """What the optimizers hold, in their order."""
    optimizer = learner.optimizer
    optimizers: Iterable[Any] = optimizer.values() if isinstance(optimizer, Mapping) else [optimizer]
    return dict.fromkeys(each for one in optimizers for group in one.param_groups for each in group["params"])


def listed(names: list[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(names[:TOLD]) + more


def counted(number: int, what: str) -> str:
    """A number of things."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
