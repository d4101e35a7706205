"""The training modes of models: set for a phase, and put back after it."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

import torch

Modes = list[tuple[torch.nn.Module, bool]]


def modes_of(models: Iterable[torch.nn.Module]) -> Modes:
    """The mode of every module of the models, for `put_back_modes`."""
    return [(module, module.training) for model in models for module in model.modules()]


def put_back_modes(modes: Modes) -> None:
    """Set every module to the mode that it had."""
    for module, mode in modes:
        module.training = mode


def set_modes(models: Iterable[torch.nn.Module], *, training: bool) -> None:
    """Set models to training or eval mode.

    A module that was frozen by `.eval()` stays frozen while training, as long as any module of its
    model is in training mode. A model that is wholly in eval mode is set to training mode; where
    that may not be meant, it is warned of, once for each model.
    """
    for model in models:
        if not training:
            model.eval()
            continue
        if model.training:
            continue
        modules = list(model.modules())
        if not any(module.training for module in modules):
            model.train()
            if len(modules) > 1:
                warn_once(
                    model,
                    "was wholly in eval mode; it trains in training mode.\n"
                    "Fix: to keep parts of it frozen, call model.train() and then .eval() on those parts.",
                )
        else:
            frozen = sum(not module.training for module in modules)
            warn_once(
                model,
                f"is in eval mode except for some of its parts, so {frozen} of its {len(modules)} modules stay "
                f"frozen while it trains.\nFix: if that is not meant, call model.train().",
            )


warned: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()


def warn_once(model: torch.nn.Module, what: str) -> None:
    """Warn about a model's mode, unless that was done before."""
    if model not in warned:
        warned.add(model)
        from loguru import logger  # needed rarely, and loaded then

        logger.warning(f"{type(model).__name__} {what}")
