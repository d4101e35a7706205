"""`Updates`: which updates the gradients belong to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from treadle.errors import ArgumentValueError
from treadle.loop.update.optimizer_step import let_step
from treadle.loop.update.target import WHOLE, Target, shown
from treadle.state.models import clear_gradients

if TYPE_CHECKING:
    from treadle.learner import Learner


class Unfinished:
    """What there is of an update of which batches are to come.

    Attributes:
        batches: How many batches are in its gradients.
        states: What callbacks keep with these, by their names.
    """

    __slots__ = ("batches", "states")

    def __init__(self, batches: int, states: dict[str, dict[str, Any]]) -> None:
        self.batches, self.states = batches, states


class Updates:
    """Which updates the gradients belong to.

    Gradients that were used can be read until the next backward pass begins, which starts from none. Those of an
    update that is under way, of which there are batches to come, are added to.

    Attributes:
        target: What the update under way is of.
        unfinished: Those whose gradients are kept for batches to come, in their order.
        open: Whether one is under way, in a step or at the end of an epoch.
        completing: Whether one is completed at the end of an epoch, after its last step was counted.
        began: Whether a backward pass began in the step that is under way, or that was the last.
        batches: How many batches were in the gradients of the target when its update began in the step.
        states: What callbacks keep with the gradients since the last backward pass, by their names.
        kept: Those that the step under way has kept.
        ran: Whether `run_update` was called in the step under way, or in the last one.
        cancelled: Whether an update was cancelled in that step.
        undecided: Whether the phase has left it to `run_update` whether the step accumulates.
        let_step: Lets an optimizer change its parameters.
    """

    __slots__ = (
        *("batches", "began", "cancelled", "completing", "kept", "open", "ran", "states", "target", "undecided"),
        "unfinished",
    )

    let_step = staticmethod(let_step)

    def __init__(self) -> None:
        self.target = WHOLE
        self.unfinished: dict[Target, Unfinished] = {}
        self.open = self.began = self.cancelled = self.completing = self.ran = self.undecided = False
        self.batches = 0
        self.states: dict[str, dict[str, Any]] = {}
        self.kept: tuple[Target, ...] = ()

    def begin_step(self, learner: Learner) -> None:
        """A training step begins. Clear what a phase that goes its own way has left in the gradients."""
        if not self.began and not self.unfinished:
            clear_gradients(learner)
        self.target, self.kept = WHOLE, ()
        self.open = self.began = self.cancelled = self.ran = self.undecided = False
        unfinished = self.unfinished.get(WHOLE) if self.unfinished else None  # as in `begin`, and this is every step
        self.batches = learner.progress.accumulated = 0 if unfinished is None else unfinished.batches

    def begin(self, learner: Learner, target: Target) -> None:
        """An update of a target begins, or goes on."""
        unfinished = self.unfinished.get(target)
        self.batches = learner.progress.accumulated = 0 if unfinished is None else unfinished.batches

    def complete(self, learner: Learner, target: Target) -> None:
        """An unfinished update is completed without another batch; a backward pass would begin from no gradients."""
        unfinished = self.unfinished.pop(target)
        self.target, self.states = target, unfinished.states
        self.batches, learner.progress.accumulated = unfinished.batches - 1, unfinished.batches

    def end_step(self, learner: Learner) -> None:
        """A training step was cancelled or failed; what its backward pass has begun is dropped."""
        if self.began:
            self.drop_all(learner)

    def begin_backward(self, learner: Learner) -> None:
        """A backward pass begins: what it leaves is not kept until somebody says so."""
        self.began = True
        if self.unfinished and self.target in self.unfinished:
            self.states = self.unfinished.pop(self.target).states
            return
        self.states = {}
        if self.target.models is None:
            clear_gradients(learner)
        else:
            for parameter in self.target.parameters(learner):
                parameter.grad = None

    def end_backward(self, learner: Learner) -> None:
        """Count the batch that is now in the gradients."""
        learner.progress.accumulated = self.batches + 1

    def keep(self, learner: Learner, target: Target) -> None:
        """Keep the gradients of a step that accumulates."""
        if self.unfinished or self.kept:
            self.refuse_overlaps(target)
        self.kept += (target,)
        self.unfinished[target] = Unfinished(learner.progress.accumulated, self.states)

    def refuse_overlaps(self, target: Target) -> None:
        """Refuse to keep gradients beside others of the same parameters."""
        for other in self.unfinished:
            if target.overlaps(other):
                self.refuse_mixed(target, other)
        if target in self.kept and not self.undecided:
            self.refuse_mixed(target, target)

    def refuse_mixed(self, target: Target, other: Target) -> NoReturn:
        """Refuse to accumulate two sums in the same gradients."""
        raise ArgumentValueError(
            f"A step that accumulates gradients called run_update twice for the same parameters "
            f"({shown(other)}, then {shown(target)}): nobody could tell how many batches are in them.\n"
            f"Fix: leave out the callback that accumulates, or name other models in each call:\n"
            f'    run_update(learner, self, models="...")'
        )

    def keep_gradients(self, learner: Learner, target: Target) -> None:
        """Let the next backward pass of a target add to its gradients."""
        self.unfinished[target] = Unfinished(learner.progress.accumulated, self.states)

    def end_update(self, learner: Learner, changed: object) -> None:
        """Count an update; its gradients are used up."""
        if self.unfinished:
            self.unfinished.pop(self.target, None)
        self.states, learner.progress.accumulated = {}, 0
        learner.progress.updates += changed is not False

    def drop(self, learner: Learner, target: Target) -> None:
        """Let the next update of a target begin without the gradients so far."""
        self.unfinished.pop(target, None)
        self.states, learner.progress.accumulated = {}, 0

    def saved(self) -> list[list[Any]]:
        """The unfinished updates in plain values."""
        return [[*target, sums.batches, sums.states] for target, sums in self.unfinished.items()]

    def put_back(self, saved: Iterable[Sequence[Any]]) -> None:
        """Go on with updates that were saved in plain values."""
        self.unfinished = {
            Target(loss, None if models is None else tuple(models)): Unfinished(batches, states)
            for loss, models, batches, states in saved
        }

    def drop_all(self, learner: Learner) -> None:
        """Let the next step begin without the gradients of the batches so far."""
        self.unfinished.clear()
        self.began, self.states, learner.progress.accumulated = False, {}, 0
