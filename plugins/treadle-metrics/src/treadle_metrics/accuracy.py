"""`accuracy`: the share of rows whose highest score is the right class's."""

from __future__ import annotations

import torch

from treadle_metrics.abstract_metric import MetricError


def accuracy(yhats: torch.Tensor, ys: torch.Tensor) -> torch.Tensor:
    """The share of right answers, from 0 to 1.

    Args:
        yhats: A score for each class, of shape (batch, classes, ...).
        ys: The right classes: their numbers, of shape (batch, ...), or one-hot, of the shape of `yhats`.

    Returns:
        A tensor with one element, on the device of the scores.

    Raises:
        MetricError: for other shapes, for no rows, and for scores that have no order.

    Example:
        >>> scores = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])
        >>> accuracy(scores, torch.tensor([0, 1, 1, 0]))
        tensor(0.7500)
    """
    if not (isinstance(yhats, torch.Tensor) and isinstance(ys, torch.Tensor)):
        raise MetricError(
            f"accuracy compares two tensors, got a {type(yhats).__name__} and a {type(ys).__name__}.\n"
            f"Fix: choose the tensors:\n"
            f'    Metric(lambda yhats, ys: accuracy(yhats["scores"], ys), name="Accuracy")'
        )
    scores, classes = tuple(yhats.shape), tuple(ys.shape)
    if len(scores) < 2 or scores[1] < 2:
        raise MetricError(
            f"accuracy needs a score for each class, (batch, classes, ...), got yhats of shape {scores}.\n"
            f"Fix: compare a single score for two classes with a threshold:\n"
            f'    Metric(lambda yhats, ys: ((yhats > 0) == ys).float().mean(), name="Accuracy")'
        )
    if yhats.is_complex() or yhats.dtype == torch.bool:
        raise MetricError(
            f"accuracy needs scores that are numbers that have an order, got yhats of {yhats.dtype}.\n"
            f"Fix: return the scores before they are compared:\n    yhats.abs()"
        )
    if not yhats.numel():
        raise MetricError(
            f"accuracy got no rows: yhats of shape {scores}.\nFix: let each batch have a row:\n    drop_last=True"
        )
    if classes == scores:
        ys = ys.argmax(1)
    elif classes != (expected := scores[:1] + scores[2:]):
        fix = "reshape it."
        if classes[-1:] == (1,):
            fix = f"remove its last axis:\n    ys.squeeze({len(classes) - 1})"
        raise MetricError(
            f"accuracy got yhats of shape {scores}, so ys must have the shape {expected} with class numbers, or "
            f"{scores} one-hot; it has the shape {classes}.\nFix: {fix}"
        )
    return (yhats.argmax(1) == ys).float().mean()
