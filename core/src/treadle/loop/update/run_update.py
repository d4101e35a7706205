"""`run_update`: from a loss to changed parameters, by the gradients of one batch or of several.

    run_update
      BackwardBegin
      backward                operation -> grads
      BackwardEnd             the gradients of this batch, as backward left them
      unless accumulating:    `step.accumulating`, which the operation `accumulate` gave before the forward pass
        finalize_gradients    operation: unscale, reduce, weigh
        UpdateBegin           the gradients are whole
        update                operation
        UpdateEnd             the parameters were changed

An epoch that ends inside an update completes it from `finalize_gradients` on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from treadle.errors import CallbackError, CancelStepException, CancelUpdateException
from treadle.events import BackwardBegin, BackwardEnd, UpdateBegin, UpdateEnd
from treadle.loop.update.target import WHOLE, target_of
from treadle.operations import Accumulate, Backward, FinalizeGradients, Update
from treadle.state.propdict import PropDict

if TYPE_CHECKING:
    from treadle.dispatch.dispatcher import Handle
    from treadle.learner import Learner
    from treadle.phases import Phase


def run_update(learner: Learner, phase: Phase, loss: str = "loss", models: str | Iterable[str] | None = None) -> None:
    """Change the parameters by the gradients of a loss, or only add to the gradients, as `step.accumulating` says.

    For phases of one's own, inside of a step. It does all from `BackwardBegin` to `UpdateEnd`. A
    `CancelUpdateException` raised in it drops the gradients of the update, and the step goes on.

    Args:
        loss: The name of the loss in the step's state. Default: "loss".
        models: The name of a model, or several: the gradients, the optimizers and `step.grads` are of those alone.
            Default: all.

    Reads `step.<loss>`, and `step.accumulating`, which it sets by the operation `accumulate` where the phase has not:
    then updates of several models, in one step, accumulate batches of their own.
    Writes `step.grads`.

    Raises:
        CallbackError: if no step is under way.
        ArgumentValueError: if the learner has no such model or loss, if an optimizer of the models holds
            parameters of others, or if a step accumulates gradients for the same parameters twice.

    Example:
        >>> from treadle import AbstractTrainingPhase, LossBegin, run_step, toy_learner
        >>> from treadle.operations import Forward, Loss
        >>> class Shrinking(AbstractTrainingPhase):
        ...     "Train by the loss and the size of the weight; what is recorded as the loss is without it."
        ...     def step(self, learner, batch):
        ...         with run_step(learner, self, xs=batch[0], ys=batch[1]) as (handle, state):
        ...             state.yhats = handle(Forward)
        ...             handle(LossBegin)
        ...             state.loss = handle(Loss)
        ...             state.sum = state.loss + learner.model.weight.abs().sum()
        ...             run_update(learner, self, loss="sum")
        >>> learner = toy_learner()
        >>> result = learner.fit(2, phases=[Shrinking()])
        >>> learner.progress.updates
        32
    """
    position = learner.position
    if not position.stepping:
        raise CallbackError(
            "run_update was called outside of a step.\n"
            "Fix: call it in the step of a phase:\n"
            "    with run_step(learner, self, xs=xs, ys=ys) as (handle, state): ..."
        )
    handle, state, updates = learner.current, learner.step, position.updates
    if handle.phase is not phase:
        handle = learner.handle(phase)
    if models is None and loss == "loss":
        target = WHOLE
    else:
        target = target_of(learner, loss, models)
    if updates.target is not target or updates.began:  # else the step has begun it
        updates.target = target
        updates.begin(learner, target)
    if "accumulating" not in vars(state) or updates.undecided:  # then each target of the step decides for itself
        updates.undecided, state.accumulating = True, handle[Accumulate]()
    updates.open = updates.ran = True
    agreement, agreed = handle.agreement, False
    agreement.begin()
    try:
        handle[BackwardBegin]()
        agreement.reach("backward")
        handle[Backward]()
        state.grads = learner.grads if target.models is None else target.grads(learner)
        handle[BackwardEnd]()
        agreement.reach("gradients")
        if not state.accumulating:
            prepare(handle)
        agreed = True
        if state.accumulating:
            updates.keep(learner, target)
        else:
            change(handle)
    except CancelUpdateException as cancel:
        if not agreed:  # what is raised later comes after the change, here alone
            agreement.settle(cancel)
        updates.cancelled = True
        updates.drop(learner, target)
    finally:
        updates.target, updates.open = WHOLE, False


def prepare(handle: Handle) -> None:
    """The part of an update in which the gradients become whole."""
    handle[FinalizeGradients]()
    handle[UpdateBegin]()
    handle.agreement.reach("update")


def change(handle: Handle) -> None:
    """The part of an update in which the parameters are changed."""
    if handle[Update]() is not False:
        handle[UpdateEnd]()


def complete_unfinished(learner: Learner, phase: Phase, handle: Handle) -> None:
    """Complete the updates that an epoch ends in, with a state of a step that has `grads` and `accumulating`."""
    position, outer = learner.position, learner.step
    updates, agreement = position.updates, handle.agreement
    updates.open = updates.completing = position.stepping = True
    try:
        for target in list(updates.unfinished):
            updates.complete(learner, target)
            learner.step = PropDict(grads=target.grads(learner), accumulating=False)
            agreed = False
            try:
                prepare(handle)
                agreed = True
                change(handle)
            except (CancelUpdateException, CancelStepException) as cancel:
                if not agreed:
                    agreement.settle(cancel)
                updates.drop(learner, target)
            agreement.reach("step end")
    finally:  # what is left by a cancel or an error has been changed already, and is no sum of gradients any more
        updates.drop_all(learner)
        updates.target, learner.step = WHOLE, outer
        updates.open = updates.completing = position.stepping = False
