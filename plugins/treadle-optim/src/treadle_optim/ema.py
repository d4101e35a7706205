"""`EMA`: an exponential moving average of the weights."""

from __future__ import annotations

from typing import Any

from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import get_ema_multi_avg_fn
from treadle import AbstractTrainingPhase
from treadle.authoring import models_by_name, real_number, update_under_way, whole_number
from treadle.errors import ArgumentValueError

from treadle_optim.averaged_weights import AveragedWeights
from treadle_optim.averages import Averages


class EMA(AveragedWeights):
    """Average the weights exponentially, over updates; validation and the models of checkpoints are the averages.

    It begins with the weights that are there when training begins. With several models each has its own count of
    updates: those that changed its parameters. Buffers are not averaged, they are the model's own.

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
        super().__init__()
        self.decay = real_number(decay, "decay", "EMA(0.999)", least=0, most=1)
        self.every = whole_number(every, "every", "EMA(0.999, every=10)", least=1)
        self.updates: dict[str, int] = {}
        self._average = get_ema_multi_avg_fn(self.decay)  # type: ignore[no-untyped-call]

    def on_init(self, learner: Any) -> None:
        super().on_init(learner)
        for prefix, module in models_by_name(learner.model).items():
            for name, parameter in module.named_parameters():
                if is_lazy(parameter):
                    raise ArgumentValueError(
                        f"{self.name} begins with the initial weights, and {f'{prefix}.' if prefix else ''}{name} has "
                        f"no shape yet.\nFix: show the model a batch before the learner is built:\n    model(xs)"
                    )
        self._begin()

    def on_epoch_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        self._use(learner.model)
        self._begin()

    def on_update_end(self, learner: Any) -> None:
        self._refuse_in_validation()
        averages, updates, every = self.averages, self.updates, self.every
        assert averages is not None
        names = update_under_way(learner).models or averages.models
        for name in names:
            updates[name] = updates.get(name, 0) + 1
        if every > 1:
            names = tuple(name for name in names if not updates[name] % every)
        for group in averages.groups(names):
            self._average(*group, 0)

    def state_dict(self) -> dict[str, Any]:
        """The averages, the updates of each model and, in the middle of validation, what was trained."""
        return {**super().state_dict(), "updates": dict(self.updates)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = dict(state["updates"])
        super().load_state_dict(state)

    def _begin(self) -> None:
        """Before the first update, begin with the weights that are there; later these must be of the same model."""
        if not self.updates or self.averages is None:
            self.averages = Averages(self._model)

    def _replaced(self) -> Any:
        return super()._replaced() if self.updates else {}
