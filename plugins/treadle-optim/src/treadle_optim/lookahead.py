"""`Lookahead`: slow weights that follow the fast ones."""

from __future__ import annotations

import torch
from treadle import Callback, ConflictResolution, NoConflict, NotDefined, RunFirst, Unresolvable, Write, accesses
from treadle.authoring import handlers, overlaps, real_number, unwrap, whole_number

from treadle_optim.initial_weights import FromInitialWeights


class Lookahead(FromInitialWeights):
    """After each k updates, move slow weights towards those of the optimizer, and go on from there.

    The slow weights begin with those that are there when training begins; the state of the optimizer stays as it is.
    With several models each has its own count of updates: those that changed its parameters. `EMA` and `SWA` average
    what it leaves.

    It is a guard: a training phase that has no `UpdateEnd` is refused.

    Args:
        k: The number of updates from one time to the next. Default: 5.
        alpha: How far the slow weights move: `slow = slow + alpha * (weights - slow)`. Above 0, at most 1.

    Writes: `model`.

    Raises:
        ArgumentTypeError, ArgumentValueError: for an argument that has an invalid value; in `on_init`, for a
            lazy model.
        CallbackConflictError: before training, beside another one, or another callback that changes the weights
            where an update ends.

    Source: Zhang et al., Lookahead Optimizer: k steps forward, 1 step back, 2019, https://arxiv.org/abs/1907.08610.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner(Lookahead(k=4, alpha=0.5))
        >>> _ = learner.fit(1)
        >>> plain = toy_learner()
        >>> _ = plain.fit(1)
        >>> 0 < learner.model.weight.item() < plain.model.weight.item()
        True
    """

    def __init__(self, k: int = 5, alpha: float = 0.5) -> None:
        self.k = whole_number(k, "k", "Lookahead(k=5)", least=1)
        self.alpha = real_number(alpha, "alpha", "Lookahead(alpha=0.5)", above=0, most=1)
        super().__init__(freq=self.k)

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        if isinstance(unwrap(other), Lookahead):
            return Unresolvable("Each of them moves the weights back towards its own. Keep one.")
        handled = handlers(other).keys()
        if "on_update_end" in handled or {"epoch", "step"} & handled:
            return NotDefined()
        # Elsewhere it reads the weights that training begins with.
        return RunFirst(other) if any(overlaps(path, "model") for path in accesses(other, Write)) else NoConflict()

    @torch.no_grad()
    def follow(self, averages: list[torch.Tensor], parameters: list[torch.Tensor]) -> None:
        for slow, fast in zip(averages, parameters, strict=True):
            if slow.is_floating_point() or slow.is_complex():
                slow.lerp_(fast, self.alpha)
                fast.copy_(slow)
