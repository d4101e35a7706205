"""Prechelt's criteria: `GL`, the generalization loss, and `PQ`, that loss against training's progress."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

from treadle.authoring import real_number, whole_number
from treadle.errors import ArgumentValueError

from treadle_stopping.criterion import Criterion


def generalization_loss(loss: float, best: float) -> float:
    """By how many percent the loss is above the best: 100 * (loss - best) / abs(best).

    Example:
        >>> generalization_loss(9.0, 8.0), generalization_loss(-3.0, -4.0), generalization_loss(0.1, 0.0)
        (12.5, 25.0, inf)
    """
    above = loss - best
    if above == 0:
        return 0.0
    return 100 * above / abs(best) if best else math.copysign(math.inf, above)


def progress(losses: list[float]) -> float:
    """By how many per mille the training losses' mean is above their minimum: 1000 * (mean / min - 1).

    Example:
        >>> progress([2.0, 3.0, 6.0, 7.0]), progress([0.0, 0.0]), progress([0.0, 1.0])
        (1250.0, 0.0, inf)
    """
    least = min(losses)
    above = sum(loss - least for loss in losses) / len(losses)  # exactly 0 if they are all equal
    if above == 0:
        return 0.0
    return 1000 * above / least if least else math.inf


def _lower(best: float | None, loss: float) -> float:
    """The minimum so far. A NaN is not a minimum: it would hide every rise that comes after."""
    return loss if best is None or math.isnan(best) or loss < best else best


@dataclass(frozen=True)
class GL(Criterion):
    """Stop when the out-of-sample loss is more than `alpha` percent above its minimum.

    The generalization loss is GL = 100 * (E - E_opt) / abs(E_opt), with E the latest loss and E_opt
    the least one so far, which may be negative. Above a minimum of 0 it is infinite. A NaN neither
    stops nor counts as the minimum.

    Args:
        alpha: The percentage. Default: 2.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `alpha` is not a number above 0.

    Example:
        >>> from treadle_stopping import stopping_time
        >>> stopping_time(GL(20), [10.0, 8.0, 9.0, 10.0, 11.0])
        4

    Source: Prechelt, "Early Stopping - But When?", 1998.
    """

    alpha: float = 2.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", real_number(self.alpha, "GL(alpha)", "GL(2)", above=0))

    def update(self, state: dict[str, float] | None, loss: float) -> dict[str, float]:
        return {"loss": loss, "best": loss if state is None else _lower(state["best"], loss)}

    def done(self, state: dict[str, float]) -> bool:
        return generalization_loss(state["loss"], state["best"]) > self.alpha

    def reason(self, state: dict[str, float]) -> str:
        above = generalization_loss(state["loss"], state["best"])
        return f"the loss, {state['loss']:.6g}, is {above:.4g} % above its minimum, {state['best']:.6g}"


@dataclass(frozen=True)
class PQ(Criterion):
    """Stop when the out-of-sample loss rises faster than training still makes progress.

    At an out-of-sample loss, the progress is P = 1000 * (mean(F) / min(F) - 1), where F are the training
    losses since the out-of-sample loss before, at most the last `k`. It stops if
    GL / P is above `alpha` (GL as in the criterion `GL`), or if P is at most `tol`: training stands still.

    It needs two training losses on record before an out-of-sample loss. In a fit (`EarlyStopping`) and in a
    disjunction it waits for them, and an out-of-sample loss that comes too early counts for the minimum and
    nothing else; by itself, in `stopping_time` and `EarlyStopper`, it is an error. A second out-of-sample
    loss in a row is judged with the training losses on record. Made for losses that are not negative: negative
    training losses make P negative, which stops at once.

    Args:
        alpha: The limit of GL / P. Default: 0.75.
        k: How many training losses to look at: at least 2, or `math.inf`. Default: 5.
        tol: The progress that counts as none. Default: the machine epsilon, 2.22e-16.

    Raises:
        ArgumentTypeError, ArgumentValueError: if an argument is invalid; and for an out-of-sample loss with
            fewer than two training losses on record.

    Example:
        >>> from treadle_stopping import stopping_time
        >>> losses = [9.5, 9.3, 10.0, 9.3, 9.1, 8.9, 8.0, 8.3, 8.4, 9.0]
        >>> training = [True, True, False, True, True, True, False, True, True, False]
        >>> stopping_time(PQ(alpha=2.0, k=2), losses, training)
        3

    Source: Prechelt, "Early Stopping - But When?", 1998.
    """

    alpha: float = 0.75
    k: float = 5
    tol: float = sys.float_info.epsilon

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", real_number(self.alpha, "PQ(alpha)", "PQ(alpha=0.75)", above=0))
        object.__setattr__(self, "tol", real_number(self.tol, "PQ(tol)", "PQ(tol=1e-12)", above=0))
        if self.k != math.inf:
            object.__setattr__(self, "k", whole_number(self.k, "PQ(k), unless it is math.inf,", "PQ(k=5)", least=2))

    def update_training(self, state: dict[str, Any] | None, loss: float) -> dict[str, Any]:
        if state is None:
            return {"training": [loss], "waiting": True, "loss": None, "best": None}
        if not state["waiting"]:
            state.update(training=[], waiting=True)
        losses = state["training"]
        losses.append(loss)
        if len(losses) > self.k:
            del losses[0]
        return state

    def update(self, state: dict[str, Any] | None, loss: float) -> dict[str, Any]:
        if state is None:
            return {"training": [], "waiting": False, "loss": loss, "best": loss}
        return {**state, "waiting": False, "loss": loss, "best": _lower(state["best"], loss)}

    def check(self, state: dict[str, Any] | None) -> None:
        recorded = 0 if state is None else len(state["training"])
        if recorded < 2:
            raise ArgumentValueError(
                f"{self!r} got an out-of-sample loss with {recorded} training losses on record, and needs 2.\n"
                f"Fix: pass training losses first, stopper.done(loss, training=True), or let it wait:\n"
                f"    EarlyStopper(PQ(), strict=False)"
            )

    def done(self, state: dict[str, Any]) -> bool:
        if state["waiting"] or len(state["training"]) < 2:
            return False
        p = progress(state["training"])
        return p <= self.tol or generalization_loss(state["loss"], state["best"]) / p > self.alpha

    def reason(self, state: dict[str, Any]) -> str:
        p = progress(state["training"])
        if p <= self.tol:
            return f"the last {len(state['training'])} training losses make no progress (P = {p:.4g})"
        above = generalization_loss(state["loss"], state["best"])
        return (
            f"the loss, {state['loss']:.6g}, is {above:.4g} % above its minimum, {state['best']:.6g}, "
            f"and training's progress is {p:.4g}"
        )
