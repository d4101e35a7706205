"""Whether a loss function compares each output with the targets of all rows, as `(n, 1)` against `(n,)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from treadle_sanity.lossfns import ELEMENTWISE, is_one_of
from treadle_sanity.tensors import tensors

#: The losses of torch that broadcast outputs and targets, in all spellings in which a function of one's own calls them.
BROADCASTING = {
    *(loss for loss in ELEMENTWISE if not isinstance(loss, type)),
    *(functional.kl_div, functional.gaussian_nll_loss, functional.soft_margin_loss),
}


def compares_all_rows(lossfn: Any, yhats: Any, ys: Any) -> tuple[int, ...] | None:
    """The shape that a loss function makes of outputs and targets, where it is larger than either; else None.

    Of torch's own losses it is known. Any other function is called, and only what it does counts: one that brings
    both into one shape first is right. There shapes of one number of dimensions, such as `(n, 1)` and `(1, n)`,
    are taken as meant.

    Example:
        >>> compares_all_rows(lambda yhats, ys: (yhats - ys).abs().mean(), torch.ones(4, 1), torch.ones(4))
        (4, 4)
        >>> compares_all_rows(lambda yhats, ys: (yhats[:, 0] - ys).abs().mean(), torch.ones(4, 1), torch.ones(4))
    """
    if not isinstance(yhats, torch.Tensor) or not isinstance(ys, torch.Tensor):
        return None
    try:
        together = torch.broadcast_shapes(yhats.shape, ys.shape)  # type: ignore[no-untyped-call]
    except RuntimeError:
        return None
    if together in (yhats.shape, ys.shape):
        return None
    if is_one_of(lossfn, ELEMENTWISE):
        return tuple(together)
    if yhats.ndim == ys.ndim:
        return None
    watch = Watch(yhats.shape, ys.shape, together)
    try:
        with watch:
            lossfn(yhats, ys)
    except Exception:  # it did not raise before, so it is the watch that it does not bear
        return None
    return tuple(together) if watch.found else None


class Watch(TorchFunctionMode):
    """Notes whether anything makes one shape of two others.

    Attributes:
        found: Whether something did.
    """

    def __init__(self, left: torch.Size, right: torch.Size, together: torch.Size) -> None:
        super().__init__()
        self.shapes, self.together = {left, right}, together
        self.found = False

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        broadcasts = function in BROADCASTING or (isinstance(result, torch.Tensor) and result.shape == self.together)
        if broadcasts and self.shapes <= {operand.shape for operand in tensors((args, kwargs))}:
            self.found = True
        return result
