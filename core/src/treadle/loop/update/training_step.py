"""The step of `TrainingPhase`: by its parts, and the same in one function.

Between two operations of torch little is left in the caches of the processor, so what a step costs goes by the number
of functions that it enters and of objects that it touches, more than by what they do. The steps of an epoch are
therefore run by one function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.errors import CancelUpdateException
from treadle.events import BackwardBegin, BackwardEnd, LossBegin, StepBegin, UpdateBegin, UpdateEnd
from treadle.loop.data.split import state_of_batch
from treadle.loop.loop import end_step, failed_step, run_step
from treadle.loop.update.run_update import run_update
from treadle.loop.update.target import WHOLE
from treadle.operations import Accumulate, Backward, FinalizeGradients, Forward, Loss, Update
from treadle.state.propdict import PropDict

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.phases import Phase

#: What a step runs, in this order.
HOOKS = (
    StepBegin, Accumulate, Forward, LossBegin, Loss, BackwardBegin, Backward, BackwardEnd,
    FinalizeGradients, UpdateBegin, Update, UpdateEnd,
)  # fmt: skip

new = PropDict.__new__


def by_parts(phase: Phase, learner: Learner, batch: Any) -> None:
    """A training step as a phase of one's own writes it."""
    with run_step(learner, phase, **state_of_batch(learner, batch, phase)) as (handle, state):
        state.accumulating = handle[Accumulate]()
        state.yhats = handle[Forward]()
        handle[LossBegin]()
        state.loss = handle[Loss]()
        run_update(learner, phase)


def training_step(self: Phase, learner: Learner, batch: Any) -> None:
    """Train with a batch: a pair (inputs, targets), or what the learner's `split` makes one of."""
    # In the epoch under way it is done in line: run_step, run_update, and what comes before and after operations.
    handle, progress, position = learner.current, learner.progress, learner.position
    if (
        progress.phase is not self
        or handle.phase is not self
        or position.stepping
        or not self.training
        or not handle.agreement.alone
    ):
        by_parts(self, learner, batch)
        return
    if learner.split is None and isinstance(batch, (tuple, list)) and len(batch) == 2:
        state = new(PropDict)
        state.xs, state.ys = batch  # a `__dict__` of its own would cost as much as all the rest of the state
    else:
        state = PropDict(state_of_batch(learner, batch, self))
    (step_begin, accumulate, forward, loss_begin, loss, backward_begin, backward, backward_end,
     finalize_gradients, update_begin, update, update_end) = handle.unrolled or handle.unroll(HOOKS)  # fmt: skip
    updates, entered = position.updates, False
    # As in a loop by hand, the graph of the last loss, whose backward pass is done, lives until there is a new loss:
    # to take it apart before the forward pass costs more.
    last_loss = getattr(learner.step, "loss", None) if updates.began else None
    try:
        try:
            position.stepping = True
            progress.step += 1
            learner.__dict__["step"] = state  # which needs no check
            updates.begin_step(learner)
            step_begin()
            entered = True
            state.accumulating = accumulate()
            state.yhats = forward()
            loss_begin()
            state.loss = loss()
            del last_loss
            if updates.began or updates.target is not WHOLE:
                updates.target = WHOLE
                updates.begin(learner, WHOLE)
            updates.open = updates.ran = True
            try:
                backward_begin()
                updates.begin_backward(learner)
                backward()
                progress.accumulated = updates.batches + 1
                state.grads = learner.grads
                backward_end()
                if state.accumulating:
                    updates.keep(learner, WHOLE)
                else:
                    finalize_gradients()
                    update_begin()
                    changed = update()
                    updates.end_update(learner, changed)
                    if changed is not False:
                        update_end()
            except CancelUpdateException:
                updates.cancelled = True
                updates.drop(learner, WHOLE)
            finally:
                updates.target, updates.open = WHOLE, False
        except BaseException as error:
            if failed_step(learner, self, error) and entered:
                return
            raise
        end_step(learner, self, handle)
    finally:
        position.stepping = False
