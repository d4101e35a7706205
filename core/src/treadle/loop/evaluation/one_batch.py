"""`refuse_one_batch`: data of a prediction that are a batch, or could be one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from treadle.errors import DataError


def refuse_one_batch(data: Any) -> None:
    """Refuse a tensor, a mapping, or a tuple with tensors in it: what iterates over it are no batches, or perhaps none.

    Raises:
        DataError: with how to write one batch, and several.
    """
    if isinstance(data, torch.Tensor):
        raise DataError(
            f"learner.predict needs an iterable of batches, got a tensor of shape {tuple(data.shape)}, whose items "
            f"would be taken for batches.\n"
            f"Fix: if it is one batch, put it into a list:\n    learner.predict([xs])\n"
            f"Or, if its items are batches:\n    learner.predict(list(xs))"
        )
    if isinstance(data, Mapping):
        raise DataError(
            f"learner.predict needs an iterable of batches, got a {type(data).__name__}, whose keys would be taken for "
            f"batches.\nFix: if it is one batch, put it into a list:\n    learner.predict([inputs])"
        )
    if isinstance(data, tuple) and len(data) > 1 and any(isinstance(item, torch.Tensor) for item in data):
        raise DataError(
            f"learner.predict got a tuple with tensors in it, which can be one batch, a pair (xs, ys), or "
            f"{len(data)} batches.\n"
            f"Fix: pass a list of batches; if it is one batch:\n    learner.predict([(xs, ys)])\n"
            f"Or, if its items are batches of inputs:\n    learner.predict([first, second])"
        )
