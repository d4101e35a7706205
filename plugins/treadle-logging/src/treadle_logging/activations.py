"""`watch_activations`: what the layers of a model answered, seen through forward hooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch


@contextmanager
def watch_activations(
    model: torch.nn.Module | Mapping[str, torch.nn.Module],
) -> Iterator[dict[str, torch.Tensor]]:
    """While it is open, collect the last answer of every layer, a module without modules inside.

    Args:
        model: A model, or several by name.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
        >>> with watch_activations(net) as seen:
        ...     _ = net(torch.ones(1, 2))
        >>> {name: tuple(answer.shape) for name, answer in seen.items()}
        {'0': (1, 3), '1': (1, 3)}
    """
    seen: dict[str, torch.Tensor] = {}

    def watch(layer: torch.nn.Module, name: str) -> torch.utils.hooks.RemovableHandle:
        def keep(layer: torch.nn.Module, inputs: Any, answer: Any) -> None:
            answer = answer[0] if isinstance(answer, tuple) and answer else answer  # as recurrent layers do
            if isinstance(answer, torch.Tensor) and answer.is_floating_point() and answer.numel():
                seen[name] = answer.detach()

        return layer.register_forward_hook(keep)

    with ExitStack() as hooks:
        for prefix, one in model.items() if isinstance(model, Mapping) else [("", model)]:
            for path, layer in one.named_modules():
                if next(layer.children(), None) is None:
                    name = "/".join(filter(None, (prefix, path))) or type(layer).__name__
                    hooks.callback(watch(layer, name).remove)
        yield seen
