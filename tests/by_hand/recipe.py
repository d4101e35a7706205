"""What a training is made of, in plain values: the same for the loop written by hand and for the learner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

EPOCHS = 3
STEPS = 7 * EPOCHS
LR = 0.1
MOMENTUM = 0.9
DROPOUT = 0.2

SIGMA = 0.01  # of the noise
CLIP_NORM = 0.25
CLIP_VALUE = 0.1  # of a third party's clip
RHO = 0.05
EMA_DECAY = 0.9
SWA_START = 2  # the first epoch whose end is averaged
LOOKAHEAD_K = 2
LOOKAHEAD_ALPHA = 0.5
LR_DECAY = 0.9  # from update to update
UNFREEZE = 2  # the epoch in which the first layer begins to learn

#: What is done to the gradients of an update when they are whole.
CHANGES = ("centralise", "clip", "noise", "their clip")

Batches = list[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Recipe:
    """A combination.

    Attributes:
        precision: "fp32", "bf16" or "fp16".
        scale: With "fp16", the scale that the gradient scaler begins with; it grows after every second update.
        accumulate: The number of batches of an update.
        weigh: Whether each of these counts by its rows, and not all the same.
        changes: What is done to whole gradients, in this order; of `CHANGES`.
        average: What validation runs with: "ema", "swa" or None for the weights as they are.
        lookahead: Whether the weights are pulled back to slow ones.
        sam: Whether an update goes by the gradients of perturbed weights.
        schedule: Whether the learning rate falls from update to update.
        unfreeze: Whether the first layer is frozen in the first epoch.
        adam: Whether the optimizer is Adam, and not SGD with momentum.
    """

    precision: str = "fp32"
    scale: float = 2.0**10
    accumulate: int = 1
    weigh: bool = False
    changes: tuple[str, ...] = ()
    average: str | None = None
    lookahead: bool = False
    sam: bool = False
    schedule: bool = False
    unfreeze: bool = False
    adam: bool = False


def model_and_data() -> tuple[nn.Sequential, Batches, Batches]:
    """A net with dropout and BatchNorm, 7 batches for training, of which the last is smaller, and 2 for validation."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(DROPOUT), nn.Linear(4, 2))
        xs, ys = torch.randn(34, 3), torch.randn(34, 2)
    batches = list(zip(xs.split(4), ys.split(4), strict=True))
    training = [*batches[:6], (xs[24:27], ys[24:27])]
    return model, training, batches[7:]


def optimizer_of(parameters: object, *, adam: bool) -> torch.optim.Optimizer:
    if adam:
        return torch.optim.Adam(parameters, lr=LR)  # type: ignore[arg-type]
    return torch.optim.SGD(parameters, lr=LR, momentum=MOMENTUM)  # type: ignore[arg-type]


def differences(first: Any, second: Any, name: str = "") -> list[str]:
    """The names of what is not the same, bit for bit."""
    if isinstance(first, torch.Tensor):
        alike = isinstance(second, torch.Tensor) and (first.dtype, first.shape) == (second.dtype, second.shape)
        return [] if alike and bits(first) == bits(second) else [name]
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return [found for key in first for found in differences(first[key], second[key], f"{name} {key}".strip())]
    return [] if repr(first) == repr(second) else [name]


def bits(tensor: torch.Tensor) -> bytes:
    values: bytes = tensor.detach().numpy().tobytes()
    return values
