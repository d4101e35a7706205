"""`Accumulate`: one update by the gradients of several batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Self

import torch
from treadle import (
    AbstractTrainingPhase,
    AbstractValidationPhase,
    Callback,
    CancelUpdateException,
    ConflictResolution,
    NotDefined,
    Permission,
    Read,
    Unresolvable,
    Write,
    accesses,
    hookimpl,
)
from treadle.authoring import (
    DeviceNumber,
    batch_weight,
    handlers,
    position_of,
    real_number,
    state_of_update,
    update_under_way,
    whole_number,
)
from treadle.errors import CallbackError, DataError
from treadle.operations import Update

#: Where gradients of one batch, or of some of an update's, can be seen.
PARTIAL = {"on_backward_end": "BackwardEnd", "on_step_end": "StepEnd"}

#: A weight as it is written, for messages.
EXAMPLE = "Accumulate(4, weight=lambda step: len(step.ys))"


class Accumulate(Callback):
    """Update once for every `n` batches, by the mean of their gradients.

    The gradients are those of the one big batch, up to rounding, for the memory of a small one. Each loss is divided by
    `n` for its backward pass; for all others `step.loss` stays what it is. A last update of an epoch that has k < n
    batches is multiplied by n / k, also where nobody knows how long the data are. So each update is the mean over its
    batches.

    With `weight` it is the weighted mean. Where the loss is itself a mean, over rows or tokens, weigh each batch by how
    many there are, and an update is the mean over all of them, whatever the sizes of its batches: each loss is
    multiplied by its weight for its backward pass, and the gradients are divided by the sum of the weights. An update
    whose weights are all 0 is cancelled, and the first one is warned about.

    `Accumulate(1)` does nothing. In a phase that runs several updates in a step, each counts batches of its own.

    It is a guard: a training phase that does not do `accumulate`, `backward` and `finalize_gradients` is refused. So
    are callbacks that use `step.grads` at `BackwardEnd` or `StepEnd`, where the gradients are a part of an update's:
    their place is `UpdateBegin`.

    Args:
        n: The number of batches, at least 1.
        weight: "rows", the length of the first tensor of `step.xs`; or a function of the step's state that returns a
            number, or a tensor of one element, finite and not negative. Default: all batches weigh the same.

    Reads: `optimizer`, for its parameters.
    Writes: `step`: the loss, whatever its name, for the time of its backward pass; and the gradients.

    Raises:
        ArgumentTypeError, ArgumentValueError: if `n` or `weight` cannot be used; in a step, for a weight that cannot.
        DataError: in a step, if "rows" are to be counted and there is no tensor in `step.xs`.
        CallbackError: in a step, if the update was begun with another `n`, before the run was resumed.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner(Accumulate(4), nbatches=10)
        >>> result = learner.fit(1)
        >>> result.steps, learner.progress.updates
        (10, 3)
    """

    guard = True

    @classmethod
    def example(cls) -> Self:
        return cls(2)

    def __init__(self, n: int, *, weight: str | Callable[[Any], Any] | None = None) -> None:
        self.n = whole_number(n, "Accumulate(n)", "Accumulate(4)", least=1)
        self.weight = weight
        self._weigh = batch_weight(weight, "Accumulate(weight)", EXAMPLE)
        self._warned = False
        if self.n == 1:
            for name in ("accumulate", "backward", "finalize_gradients"):
                setattr(self, name, None)  # of these it handles none

    @property
    def state_access(self) -> Mapping[str, type[Permission]]:  # type: ignore[override]
        """Nothing for one batch."""
        return {"step": Write, "optimizer": Read} if self.n > 1 else {}

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        if isinstance(other, Accumulate):
            return Unresolvable("An update has one number of batches. Keep one of them.")
        if computes_gradients(other):
            return Unresolvable(
                f"{other.name} overrides `update` and may compute the gradients itself, of the last batch alone. "
                f"Load larger batches instead."
            )
        event = partial_gradients(other)
        if event is None:
            return NotDefined()
        return Unresolvable(
            f"{other.name} uses `step.grads` at {event}, where they are a part of an update's gradients, of fewer "
            f"batches and divided by {self.n}. If you wrote {other.name}, let it use them at UpdateBegin, where they "
            f"are whole:\n    def on_update_begin(self, learner): ..."
        )

    def accumulate(self, learner: Any, phase: AbstractTrainingPhase) -> bool:
        return learner.progress.accumulated + 1 < self.n  # type: ignore[no-any-return]

    @hookimpl(wrapper=True)
    def backward(self, learner: Any, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
        step, name = learner.step, update_under_way(learner).loss
        loss, divisor = getattr(step, name), self.n
        if self._weigh is None:
            waiting, scaled = None, loss / divisor
        else:
            weight, divisor = self._weigh(step), 0
            if weight is None:
                raise DataError(
                    'Accumulate(weight="rows") weighs a batch by the length of the first tensor of `step.xs`, and '
                    f"there is none.\nFix: pass a function of the step's state:\n    {EXAMPLE}"
                )
            waiting, scaled = DeviceNumber(weight), loss * weight  # its copy is started before the backward pass
        setattr(step, name, scaled)
        try:
            result = yield
        finally:
            setattr(step, name, loss)
        state = state_of_update(learner)
        if waiting is not None:
            number = real_number(waiting.value, "The weight of a batch", EXAMPLE, least=0, finite=True)
            state["weight"] = state.get("weight", 0.0) + number
        if state.setdefault("divisor", divisor) != divisor:
            raise CallbackError(
                f"{self.name} goes on with an update that was begun with another number of batches, or weighed "
                f"otherwise.\nFix: resume it with the Accumulate of that run, or from the end of an epoch."
            )
        return result

    @hookimpl(wrapper=True)
    def finalize_gradients(self, learner: Any, phase: AbstractTrainingPhase) -> Generator[None, Any, Any]:
        result = yield
        if self._weigh is None:
            batches = learner.progress.accumulated
            if batches != self.n:
                for gradient in gradients(learner):
                    gradient.mul_(self.n / batches)
            return result
        processes, total = position_of(learner).processes, state_of_update(learner).get("weight", 0.0)
        total = sum(processes.gather(total)) / processes.size  # of the rows of all; their gradients are the mean
        if total:
            for gradient in gradients(learner):
                gradient.div_(total)
        else:
            self._cancel()
        return result

    def _cancel(self) -> None:
        message = f"{self.name}: the weights of the batches of an update sum to 0, so it was cancelled."
        if not self._warned:
            from loguru import logger  # needed rarely, and loaded then

            self._warned = True
            logger.warning(f"{message} More of them are not warned about.")
        raise CancelUpdateException(message)


def computes_gradients(callback: Callback) -> bool:
    """Whether a callback may compute the gradients of an update itself, as an optimizer with a closure needs it."""
    handler = handlers(callback).get(Update.hook)
    return handler is not None and not handler.wrapper and "loop" in accesses(callback, Write)


def gradients(learner: Any) -> list[torch.Tensor]:
    """All gradients of the update under way."""
    parameters = update_under_way(learner).parameters(learner)
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def partial_gradients(callback: Callback) -> str | None:
    """The event of training at which a callback uses gradients that may be a part of an update's; None without one."""
    if not any(path == "step.grads" or path.startswith("step.grads.") for path in callback.state_access):
        return None
    found = handlers(callback)
    for hook, event in PARTIAL.items():
        if hook in found and not all(issubclass(phase, AbstractValidationPhase) for phase in found[hook].phases):
            return event
    return None
