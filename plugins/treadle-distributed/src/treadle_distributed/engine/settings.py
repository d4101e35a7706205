"""`settings_of`: what must be alike in all processes of a run, so that they make the same updates."""

from __future__ import annotations

from typing import Any

import torch
from treadle.authoring import by_name


def settings_of(learner: Any) -> dict[str, str]:
    """The length of the fit under way and the settings of the optimizers, as texts by their names.

    Example:
        >>> from treadle import toy_learner
        >>> settings_of(toy_learner())["optimizer, group 0: parameters"]
        '1'
    """
    length, settings = learner.position.length, {}
    if length is not None:
        settings = {
            "the phases of the fit": ", ".join(map(str, length.phases)),
            "epochs of the fit": str(length.n),
            "steps of the fit": str(length.steps),
            "steps from validation to validation": str(length.validate_every),
        }
    for key, optimizer in by_name(learner.optimizer).items():
        for i, group in enumerate(getattr(optimizer, "param_groups", ())):
            name = f"optimizer{key and '.'}{key}, group {i}"
            settings[f"{name}: parameters"] = str(len(group["params"]))
            settings.update(
                {f"{name}: {option}": shown(value) for option, value in group.items() if option != "params"}
            )
    return settings


def shown(value: Any) -> str:
    """A setting as a text that is the same in every process."""
    if isinstance(value, torch.Tensor):
        return str(value.tolist())
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(shown, value))})"
    return repr(value) if value is None or isinstance(value, (bool, int, float, str)) else type(value).__name__
