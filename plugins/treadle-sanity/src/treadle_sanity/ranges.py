"""Targets and outputs that a loss function cannot take."""

from __future__ import annotations

from typing import Any

import torch

from treadle_sanity.lossfns import BINARY, BINARY_OF_PROBABILITIES, CROSS_ENTROPY, is_one_of, option, title


def out_of_range(yhats: Any, ys: Any, lossfn: Any) -> str | None:
    """What is out of its range for a loss function, or None.

    Args:
        yhats: The model's outputs.
        ys: The targets.
        lossfn: The loss function.

    Example:
        >>> out_of_range(torch.zeros(2, 3), torch.tensor([0, 3]), torch.nn.CrossEntropyLoss())
        'the targets go from 0 to 3, and the model answers 3 classes, 0 to 2.'
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
        return None  # probabilities of the classes, which have a shape to fit and no range
    classes = yhats.shape[1] if yhats.ndim > 1 else yhats.shape[0]
    used = ys[ys != ignored]
    if not used.numel() or _within(used, 0, classes - 1):
        return None
    found = f"the targets go {_span(used)}, and the model answers {classes} classes, 0 to {classes - 1}."
    if int(used.min()) == 1 and int(used.max()) == classes:
        return f"{found} They seem to be counted from 1: take ys - 1."
    return found


def _within(values: torch.Tensor, low: float, high: float) -> bool:
    """Whether no value lies outside; one that is not a number does not."""
    return not bool(((values < low) | (values > high)).any())


def _span(values: torch.Tensor) -> str:
    return f"from {values.min().item():g} to {values.max().item():g}"
