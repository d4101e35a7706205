"""What a callback asks of the update under way, and keeps with it."""

from __future__ import annotations

from typing import Any

from treadle.arguments import not_a_learner
from treadle.loop.update.target import Target
from treadle.loop.update.updates import Updates
from treadle.state.views import learner_of


def keep_gradients(learner: Any) -> None:
    """Let the next backward pass of the update under way add to its gradients, instead of starting from none.

    For callbacks that compute the gradients of an update anew, of several batches, with
    `learner.loop.perform(Backward)` for each.

    Example:
        >>> import torch
        >>> from treadle import Callback, Write, hookimpl, toy_learner
        >>> class Twice(Callback):
        ...     "Add the gradients of a second backward pass to those of the first."
        ...     state_access = {"loop": Write, "step": Write}
        ...     @hookimpl(wrapper=True)
        ...     def finalize_gradients(self, learner):
        ...         keep_gradients(learner)
        ...         learner.step.yhats = learner.loop.perform(Forward)
        ...         learner.step.loss = learner.loop.perform(Loss)
        ...         learner.loop.perform(Backward)
        ...         return (yield)
        >>> from treadle.operations import Backward, Forward, Loss
        >>> learner = toy_learner(Twice(), nbatches=1, data=([(torch.ones(1, 1), torch.ones(1, 1))],))
        >>> result = learner.fit(1)
        >>> learner.step.grads["weight"].item()
        -2.0
    """
    updates = updates_of(learner)
    updates.keep_gradients(learner_of(learner), updates.target)


def update_under_way(learner: Any) -> Target:
    """What the update under way is of: its models, parameters and optimizers; without one, all of them.

    Example:
        >>> from treadle import CustomCallback, Read, UpdateBegin, toy_learner
        >>> def show(learner):
        ...     target = update_under_way(learner)
        ...     print(target.models, list(target.params(learner)), len(target.optimizers(learner)))
        >>> access = {"params": Read, "optimizer": Read}
        >>> result = toy_learner(CustomCallback(show, UpdateBegin, state_access=access), nbatches=1).fit(1)
        None ['weight'] 1
    """
    try:
        target: Target = getattr(learner, "_learner", learner).position.updates.target  # as `updates_of`, in every step
    except AttributeError:
        raise not_a_learner(learner) from None
    return target


def state_of_update(learner: Any) -> dict[str, Any]:
    """What a callback keeps with the gradients of the update under way, from one batch to the next: plain values.

    It is empty when a backward pass begins from no gradients, and is dropped with them, whatever drops them; what
    trains inside has its own. It is saved with the run.

    Args:
        learner: The view that the callback has; each has a state of its own.

    Example:
        >>> from treadle import AbstractTrainingPhase, Callback, Read, toy_learner
        >>> class Rows(Callback):
        ...     "Update after every 24 rows, and print the rows of each update."
        ...     state_access = {"step.xs": Read}
        ...     def accumulate(self, learner, phase: AbstractTrainingPhase):
        ...         return state_of_update(learner).get("rows", 0) + len(learner.step.xs) < 24
        ...     def on_backward_end(self, learner, phase: AbstractTrainingPhase):
        ...         state = state_of_update(learner)
        ...         state["rows"] = state.get("rows", 0) + len(learner.step.xs)
        ...     def on_update_begin(self, learner):
        ...         print(state_of_update(learner)["rows"])
        >>> result = toy_learner(Rows(), nbatches=7, batchsize=8).fit(1)
        24
        24
        8
    """
    try:
        updates: Updates = getattr(learner, "_learner", learner).position.updates  # as `updates_of`, in every step
    except AttributeError:
        raise not_a_learner(learner) from None
    unfinished = updates.unfinished.get(updates.target)
    states = updates.states if unfinished is None else unfinished.states
    owner = getattr(learner, "_owner", "")
    state = states.get(owner)
    if state is None:
        state = states[owner] = {}
    return state


def updates_of(learner: Any) -> Updates:
    """Which updates the gradients of a learner, or of the one that a callback has a view of, belong to."""
    try:
        updates: Updates = getattr(learner, "_learner", learner).position.updates  # as `learner_of`, in every step
    except AttributeError:
        raise not_a_learner(learner) from None
    return updates
