"""Whether a model's weights are numbers that one can go on with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from treadle_checkpoint.errors import NonFiniteWeightsError


def non_finite(models: Mapping[str, nn.Module]) -> str | None:
    """The name of a parameter that is not finite, or of a buffer with a NaN in it; None if there is none.

    Buffers may be infinite, as the masks of attention are.

    Args:
        models: The models by name; a single one has the empty name.
    """
    for prefix, model in models.items():
        head = f"{prefix}." if prefix else ""
        for name, parameter in model.named_parameters():
            if not is_lazy(parameter) and not torch.isfinite(parameter.detach()).all():
                return head + name
        for name, buffer in model.named_buffers():
            if not is_lazy(buffer) and torch.isnan(buffer).any():
                return head + name
    return None


def refuse_non_finite(models: Mapping[str, nn.Module]) -> None:
    """Refuse to save models whose weights are not finite.

    Raises:
        NonFiniteWeightsError: if they are not.
    """
    if (name := non_finite(models)) is not None:
        raise NonFiniteWeightsError(
            f"{name} is NaN or infinite, so the model is not saved. Go back to an earlier checkpoint; "
            f"StopOnNaNLoss ends a training before such a loss reaches the weights."
        )
