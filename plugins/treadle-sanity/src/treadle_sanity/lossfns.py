"""Torch's loss functions: which one it is, and which targets and outputs it cannot take."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

CROSS_ENTROPY = (nn.CrossEntropyLoss, functional.cross_entropy, nn.NLLLoss, functional.nll_loss)
BINARY = (nn.BCEWithLogitsLoss, functional.binary_cross_entropy_with_logits)
BINARY_OF_PROBABILITIES = (nn.BCELoss, functional.binary_cross_entropy)
ELEMENTWISE = (
    *(nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.PoissonNLLLoss),
    *(functional.mse_loss, functional.l1_loss, functional.smooth_l1_loss, functional.huber_loss),
    functional.poisson_nll_loss,
)


def is_one_of(lossfn: Any, known: tuple[Any, ...]) -> bool:
    """Whether a loss function is one of these functions, also partly applied, or of exactly these classes.

    A subclass may do something else with outputs and targets, so it is not one of them.

    Example:
        >>> is_one_of(nn.MSELoss(), ELEMENTWISE), is_one_of(lambda yhats, ys: yhats.sum(), ELEMENTWISE)
        (True, False)
    """
    while isinstance(lossfn, partial):
        lossfn = lossfn.func
    return any(lossfn is one or type(lossfn) is one for one in known)


def option(lossfn: Any, name: str, default: Any) -> Any:
    """An option of a loss function: an attribute of the module, or a keyword that was applied."""
    while isinstance(lossfn, partial):
        if name in lossfn.keywords:
            return lossfn.keywords[name]
        lossfn = lossfn.func
    return getattr(lossfn, name, default) if isinstance(lossfn, nn.Module) else default


def title(lossfn: Any) -> str:
    """What to call a loss function in a message."""
    while isinstance(lossfn, partial):
        lossfn = lossfn.func
    return getattr(lossfn, "__name__", None) or type(lossfn).__name__


def out_of_range(yhats: Any, ys: Any, lossfn: Any) -> str | None:
    """Which outputs or targets a loss function cannot take, or None.

    Example:
        >>> out_of_range(torch.zeros(2, 3), torch.tensor([0, 3]), nn.CrossEntropyLoss())
        'the targets go from 0 to 3, and the model has 3 classes, 0 to 2.'
    """
    if not isinstance(yhats, torch.Tensor) or not isinstance(ys, torch.Tensor) or not ys.numel():
        return None
    if is_one_of(lossfn, CROSS_ENTROPY) and yhats.ndim:
        return _classes(yhats, ys, option(lossfn, "ignore_index", -100))
    if is_one_of(lossfn, BINARY_OF_PROBABILITIES) and not _within(yhats, 0, 1):
        return f"the outputs go {_span(yhats)}, and {title(lossfn)} takes probabilities, 0 to 1."
    if is_one_of(lossfn, (*BINARY, *BINARY_OF_PROBABILITIES)) and not _within(ys, 0, 1):
        return f"the targets go {_span(ys)}, and {title(lossfn)} takes those from 0 to 1."
    return None


def _classes(yhats: torch.Tensor, ys: torch.Tensor, ignored: int) -> str | None:
    if ys.is_floating_point() or ys.is_complex() or ys.dtype is torch.bool:
        return None  # probabilities of the classes: no range to check, and torch checks their shape
    classes = yhats.shape[1] if yhats.ndim > 1 else yhats.shape[0]
    used = ys[ys != ignored]
    if not used.numel() or _within(used, 0, classes - 1):
        return None
    found = f"the targets go {_span(used)}, and the model has {classes} classes, 0 to {classes - 1}."
    if int(used.min()) == 1 and int(used.max()) == classes:
        return f"{found} They seem to be counted from 1: take ys - 1."
    return found


def _within(values: torch.Tensor, low: float, high: float) -> bool:
    """Whether no value lies outside; NaN does not."""
    return not bool(((values < low) | (values > high)).any())


def _span(values: torch.Tensor) -> str:
    return f"from {values.min().item():g} to {values.max().item():g}"
