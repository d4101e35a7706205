"""`EarlyStopper` judges one loss after another by criteria; `stopping_time` judges a list of losses."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from copy import deepcopy
from itertools import repeat
from typing import Any

from treadle.authoring import instance_of
from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_stopping.criterion import Criterion, Disjunction


class EarlyStopper:
    """Judges loss by loss whether to stop: early stopping for a loop of your own.

    Args:
        *criteria: Any of them stops. None at all never stops.
        strict: Whether an out-of-sample loss that comes before a criterion can judge it, as `PQ` does by
            training losses, is an error; otherwise such a criterion waits. Default: True.

    Attributes:
        criterion: The criteria as one.

    Raises:
        ArgumentTypeError: if one of them is not a criterion.

    Example:
        >>> from treadle_stopping import InvalidValue, Patience
        >>> stopper = EarlyStopper(Patience(2), InvalidValue())
        >>> [stopper.done(loss) for loss in (0.123, 0.234, 0.345)]
        [False, False, True]
        >>> stopper.message
        'Stopped early by Patience(n=2): the loss has risen 2 times in a row, to 0.345.'
    """

    def __init__(self, *criteria: Criterion, strict: bool = True) -> None:
        self.criterion: Criterion = Disjunction(*criteria)
        self.strict = instance_of(strict, "EarlyStopper(strict)", bool, "EarlyStopper(PQ(), strict=False)")
        self._state: Any = None
        self._started = False

    def start(self) -> None:
        """Begin now instead of with the first loss: clocks run from here. Without effect once begun."""
        if not self._started:
            self._state, self._started = self.criterion.start(), True

    def update(self, loss: Any, training: bool = False) -> None:
        """Take a loss.

        Args:
            loss: A number, or a tensor with one element.
            training: Whether it is the loss of a training step. Default: it is an out-of-sample loss.

        Raises:
            ArgumentTypeError: if the loss is not a number.
            ArgumentValueError: if it comes too early for a criterion, unless not `strict`.
        """
        try:
            number = float("" if isinstance(loss, (str, bytes, bool)) else loss)
        except (TypeError, ValueError, RuntimeError):
            raise ArgumentTypeError(
                f"EarlyStopper needs a loss that is one number, got {loss!r}.\n"
                f"Fix: reduce it, for example:\n    stopper.done(loss.mean())"
            ) from None
        self.start()
        if self.strict and not training:
            self.criterion.check(self._state)
        update = self.criterion.update_training if training else self.criterion.update
        self._state = update(self._state, number)

    def done(self, loss: Any, training: bool = False) -> bool:
        """Take a loss as `update` does, and return whether to stop."""
        self.update(loss, training)
        return bool(self.criterion.fired(self._state))

    @property
    def fired(self) -> Criterion:
        """The criteria that are met, as one; `Never()` while none is."""
        return Disjunction(*self.criterion.fired(self._state)) if self._started else Disjunction()

    @property
    def message(self) -> str:
        """Why to stop, by each criterion that is met; empty while none is."""
        if not self._started or not self.criterion.fired(self._state):
            return ""
        return self.criterion.message(self._state)

    def reset(self) -> None:
        """Forget everything seen so far."""
        self._state, self._started = None, False

    def forget_losses(self) -> None:
        """Forget the losses, because others that cannot be compared with them begin; clocks run on."""
        if self._state is not None:
            self._state = self.criterion.without_losses(self._state)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: plain values."""
        state = None if self._state is None else self.criterion.save_state(self._state)
        return {"kind": self.criterion.kind, "started": self._started, "state": deepcopy(state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned. The criteria's settings may differ, their types may not.

        Raises:
            ArgumentValueError: if the state is that of other types of criteria.
        """
        if state["kind"] != self.criterion.kind:
            raise ArgumentValueError(
                f"The saved state belongs to the stopping criterion {state['kind']}, and this one is "
                f"{self.criterion!r}.\nFix: resume with the same types of criteria, in the same order."
            )
        self._started = state["started"]
        saved = deepcopy(state["state"])
        self._state = None if saved is None else self.criterion.load_state(saved)


def stopping_time(criterion: Criterion, losses: Iterable[Any], is_training: Iterable[bool] | None = None) -> int:
    """When a criterion stops, in losses of one kind or of both.

    Out-of-sample losses are counted from 1, training losses are not; it stops after the former only.

    Args:
        criterion: The criterion. It is not changed.
        losses: The losses as numbers, oldest first; the iterable may be endless.
        is_training: For each loss, whether it is a training loss. Default: none is.

    Returns:
        The number of the out-of-sample loss at which it stops, 0 for never.

    Raises:
        ArgumentTypeError: if the criterion is not one, or a loss is not a number.
        ArgumentValueError: if `losses` and `is_training` are not of the same length, or an out-of-sample
            loss comes too early, as for `PQ` before two training losses.

    Example:
        >>> from treadle_stopping import InvalidValue, Patience
        >>> stopping_time(Patience(3), [10.0, 3.0, 4.0, 5.0])
        0
        >>> stopping_time(InvalidValue(), [10.0, float("nan"), 5.0], [False, True, False])
        2
    """
    check_iterable(losses, "losses")
    if is_training is None:
        is_training = repeat(False)
    check_iterable(is_training, "is_training")
    if isinstance(losses, Sized) and isinstance(is_training, Sized) and len(losses) != len(is_training):
        raise ArgumentValueError(
            f"stopping_time got {len(losses)} losses and {len(is_training)} entries of is_training.\n"
            f"Fix: pass one entry for each loss."
        )
    stopper = EarlyStopper(criterion)
    t = 0
    for loss, training in zip(losses, is_training, strict=False):
        if training not in (True, False):
            raise ArgumentTypeError(
                f"stopping_time(is_training) has {training!r}, neither True nor False.\n"
                f"Fix: say of each loss whether it is one of training:\n    [True, False]"
            )
        t += not training
        if stopper.done(loss, training) and not training:
            return t
    return 0


def check_iterable(values: Any, name: str) -> None:
    """Refuse what is not a list of losses, or of what they are."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ArgumentTypeError(
            f"stopping_time({name}) must be a list, got {values!r}.\n"
            f"Fix: write, for example:\n    stopping_time(Patience(3), [3.0, 2.0, 2.5], [True, False, False])"
        )
