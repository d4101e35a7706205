"""`batch_weight`: how much a batch counts beside others: by its rows, or by a function of the step's state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from treadle.arguments.guards import function, real_number
from treadle.arguments.shown import shown_value
from treadle.errors import ArgumentTypeError, ArgumentValueError


def batch_weight(weight: Any, name: str, example: str) -> Callable[[Any], Any] | None:
    """A function of a step's state that weighs its batch, for an argument `weight`; None if all weigh the same.

    It returns a number, finite and not negative; a tensor on an accelerator, whose value is not looked at; or None for
    a batch without rows. Anything else that the user's function returns is an error.

    Args:
        weight: "rows", the length of the first tensor of `xs`; a function of the step's state; or None.

    Raises:
        ArgumentTypeError, ArgumentValueError: if it is none of these.

    Example:
        >>> from treadle import PropDict
        >>> weigh = batch_weight("rows", "Metric(weight)", 'Metric(fn, weight="rows")')
        >>> weigh(PropDict(xs=torch.ones(8, 3))), weigh(PropDict(xs={"ids": torch.ones(4, 9)})), weigh(PropDict(z=1))
        (8, 4, None)
    """
    if weight is None:
        return None
    if isinstance(weight, str):
        if weight == "rows":
            return Rows()
        raise ArgumentValueError(
            f"{name} has an invalid value: {shown_value(weight)}.\n"
            f'Fix: pass "rows", or a function of the step\'s state:\n    {example}'
        )
    return Weight(function(weight, name, example, takes=["step"]), example)


class Rows:
    """The rows of a step's batch."""

    __slots__ = ("_missed",)

    def __init__(self) -> None:
        self._missed = False

    def __call__(self, step: Any) -> int | None:
        if self._missed and "xs" not in step:  # asking first costs more where they are
            return None
        try:
            xs = step.xs
        except AttributeError:
            self._missed = True
            return None
        if type(xs) is torch.Tensor and xs.ndim:
            return xs.size(0)
        tensor = first_tensor(xs)
        return None if tensor is None else len(tensor)


class Weight:
    """What a user's function says of a step's batch."""

    __slots__ = ("_example", "_function")

    def __init__(self, function: Callable[[Any], Any], example: str) -> None:
        self._function, self._example = function, example

    def __call__(self, step: Any) -> float | torch.Tensor:
        with torch.no_grad():
            weight = self._function(step)
        if isinstance(weight, torch.Tensor):
            if weight.numel() != 1 or weight.is_complex():
                raise ArgumentTypeError(
                    f"The weight of a batch must be a number, got a tensor of shape {tuple(weight.shape)}, "
                    f"{str(weight.dtype).removeprefix('torch.')}.\n"
                    f"Fix: sum it up:\n    weight=lambda step: (step.ys >= 0).sum()"
                )
            if not weight.is_cpu:
                return weight.detach()
        return real_number(weight, "The weight of a batch", self._example, least=0, finite=True)


def first_tensor(value: Any) -> torch.Tensor | None:
    """The first tensor that has a length in a batch's inputs."""
    if isinstance(value, torch.Tensor):
        return value if value.ndim else None
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return None
    return next((tensor for tensor in map(first_tensor, value) if tensor is not None), None)
