"""Which of torch's loss functions one is."""

from __future__ import annotations

from functools import partial
from typing import Any

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
    """Whether a loss function is one of these functions, partly applied or not, or of exactly these classes.

    A subclass may do something else with outputs and targets, so it is none of them.

    Example:
        >>> is_one_of(nn.MSELoss(), ELEMENTWISE), is_one_of(lambda yhats, ys: yhats.sum(), ELEMENTWISE)
        (True, False)
    """
    while isinstance(lossfn, partial):
        lossfn = lossfn.func
    return any(lossfn is each or type(lossfn) is each for each in known)


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
