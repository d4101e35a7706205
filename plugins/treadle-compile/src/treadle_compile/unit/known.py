"""`Known`: what a step that runs as it is written shows about those that are compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import nn


class Known(NamedTuple):
    """What a step as it is written has shown, by names.

    Attributes:
        trainable: The parameters that need a gradient.
        trained: Those that got one.
        changed: The buffers that the forward pass changed.
    """

    trainable: tuple[str, ...]
    trained: tuple[str, ...]
    changed: tuple[str, ...]


def learn(module: nn.Module, before: Mapping[str, int]) -> Known:
    """Take what a step has shown: its gradients are there, and `before` it the buffers had these versions."""
    named = dict(module.named_parameters())
    return Known(
        trainable(module),
        tuple(name for name, parameter in named.items() if parameter.grad is not None),
        tuple(name for name, version in versions(module).items() if version != before.get(name)),
    )


def trainable(module: nn.Module) -> tuple[str, ...]:
    """The names of the parameters that need a gradient."""
    return tuple(name for name, parameter in module.named_parameters() if parameter.requires_grad)


def versions(module: nn.Module) -> dict[str, int]:
    """How often each buffer was changed."""
    return {name: buffer._version for name, buffer in module.named_buffers()}
