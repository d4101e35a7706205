"""`EMA`: an exponential moving average of the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn
from treadle.authoring import real_number, whole_number

from treadle_optim.averaged_weights import AveragedWeights
from treadle_optim.initial_weights import FromInitialWeights


class EMA(FromInitialWeights, AveragedWeights):
    """Average the weights exponentially, over updates; validation and the models of checkpoints are the averages.

    It begins with the weights that are there when training begins. With several models each has its own count of
    updates: those that changed its parameters. Buffers are not averaged, they are the model's own.

    It is a guard: a training phase that has no `UpdateEnd` is refused.

    Args:
        decay: How much of the average an update keeps: `average = decay * average + (1 - decay) * weights`. In [0, 1].
        every: The number of updates from one average to the next. Default: 1.

    Writes: `model`, while it is validated.

    Raises:
        ArgumentTypeError, ArgumentValueError: for an argument that has an invalid value; in `on_init`, for a
            lazy model.
        CallbackConflictError: before training, beside another callback that averages weights for validation.

    Source: torch's `get_ema_multi_avg_fn`.

    Example:
        >>> from treadle import toy_learner
        >>> ema = EMA(0.9)
        >>> learner = toy_learner(ema)
        >>> _ = learner.fit(2)
        >>> learner.model.weight.item() > ema.model().weight.item() > 1
        True
    """

    def __init__(self, decay: float = 0.999, *, every: int = 1) -> None:
        self.decay = real_number(decay, "decay", "EMA(0.999)", least=0, most=1)
        self.every = whole_number(every, "every", "EMA(0.999, every=10)", least=1)
        super().__init__(freq=self.every)
        self._average = get_ema_multi_avg_fn(self.decay)  # type: ignore[no-untyped-call]

    def follow(self, averages: list[torch.Tensor], parameters: list[torch.Tensor]) -> None:
        self._average(averages, parameters, 0)

    def on_update_end(self, learner: Any) -> None:
        self.refuse_in_validation()
        super().on_update_end(learner)

    def _replaced(self) -> Any:
        return super()._replaced() if self.updates else {}
