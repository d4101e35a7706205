"""Criteria that count losses without progress: `Patience`, `NumberSinceBest` and `NoImprovement`."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import Any

from treadle.authoring import real_number, whole_number

from treadle_stopping.criterion import Criterion


@dataclass(frozen=True)
class Patience(Criterion):
    """Stop when the out-of-sample loss has risen `n` times in a row.

    Each loss is compared with the one *before* it, so a loss that is equal, lower or NaN starts the
    count again, however far it is from the best. To compare with the best, use `NumberSinceBest`.

    Args:
        n: The number of rises, at least 1. Default: 5.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `n` is not a whole number of at least 1.

    Example:
        >>> from treadle_stopping import stopping_time
        >>> stopping_time(Patience(2), [10.0, 8.0, 9.0, 9.0, 10.0, 11.0])
        6

    Source: UP in Prechelt, "Early Stopping - But When?", 1998.
    """

    n: int = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", whole_number(self.n, "Patience(n)", "Patience(5)", least=1))

    def update(self, state: dict[str, Any] | None, loss: float) -> dict[str, Any]:
        rises = state["rises"] + 1 if state is not None and loss > state["loss"] else 0
        return {"loss": loss, "rises": rises}

    def done(self, state: dict[str, Any]) -> bool:
        return bool(state["rises"] == self.n)

    def reason(self, state: dict[str, Any]) -> str:
        times = "once" if self.n == 1 else f"{self.n} times in a row"
        return f"the loss has risen {times}, to {state['loss']:.6g}"


UP = Patience
"""Prechelt's name for `Patience`."""


@dataclass(frozen=True)
class NumberSinceBest(Criterion):
    """Stop when the best out-of-sample loss is `n` losses ago.

    Only a loss below the best is a new best: an equal one is not, and a NaN at the very beginning is
    never beaten.

    Args:
        n: The number of losses, at least 1. Default: 6.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `n` is not a whole number of at least 1.

    Example:
        >>> from treadle_stopping import stopping_time
        >>> stopping_time(NumberSinceBest(2), [10.0, 8.0, 9.0, 8.5, 7.0])
        4
    """

    n: int = 6

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", whole_number(self.n, "NumberSinceBest(n)", "NumberSinceBest(6)", least=1))

    def update(self, state: dict[str, Any] | None, loss: float) -> dict[str, Any]:
        if state is None or loss < state["best"]:
            return {"best": loss, "since": 0}
        return {"best": state["best"], "since": state["since"] + 1}

    def done(self, state: dict[str, Any]) -> bool:
        return bool(state["since"] == self.n)

    def reason(self, state: dict[str, Any]) -> str:
        ago = "1 loss ago" if self.n == 1 else f"{self.n} losses ago"
        return f"the best loss, {state['best']:.6g}, was {ago}"


@dataclass(frozen=True)
class NoImprovement(Criterion):
    """Stop after `patience` out-of-sample losses without one that is below the best by more than `min_delta`.

    What other training loops call patience. A NaN is never the best. `EarlyStopping(patience=3)` makes one.

    Args:
        patience: The number of losses, at least 1.
        min_delta: By how much a loss has to be below the best to be the new best, at least 0. Default: 0.

    Raises:
        ArgumentTypeError, ArgumentValueError: if an argument is not such a number.

    Example:
        >>> from treadle_stopping import stopping_time
        >>> stopping_time(NoImprovement(2), [10.0, 8.0, 9.0, 8.0, 7.0])
        4
        >>> stopping_time(NoImprovement(2, min_delta=0.5), [10.0, 8.0, 7.75, 7.5, 7.0])
        4
    """

    patience: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        example = "EarlyStopping(patience=3, min_delta=0.001)"
        object.__setattr__(self, "patience", whole_number(self.patience, "patience", example, least=1))
        delta = real_number(self.min_delta, "min_delta", example, least=0, finite=True)
        object.__setattr__(self, "min_delta", delta)

    def update(self, state: dict[str, Any] | None, loss: float) -> dict[str, Any]:
        best, since = (None, 0) if state is None else (state["best"], state["since"])
        if not isnan(loss) and (best is None or loss < best - self.min_delta):
            return {"best": loss, "since": 0}
        return {"best": best, "since": since + 1}

    def done(self, state: dict[str, Any]) -> bool:
        return bool(state["since"] >= self.patience)

    def reason(self, state: dict[str, Any]) -> str:
        if state["best"] is None:
            return "every loss was nan"
        ago = "1 loss ago" if state["since"] == 1 else f"{state['since']} losses ago"
        return f"the best loss, {state['best']:.6g}, was {ago}"
