"""The update: from a loss to changed parameters, by the gradients of one batch or of several.

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

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch

from treadle.errors import ArgumentValueError, CallbackError, CancelStepException, CancelUpdateException, did_you_mean
from treadle.events import BackwardBegin, BackwardEnd, UpdateBegin, UpdateEnd
from treadle.operations import Accumulate, Backward, FinalizeGradients, Update
from treadle.state.gradients import Gradients
from treadle.state.models import clear_gradients, optimizers_of
from treadle.state.propdict import PropDict, named, named_tensors
from treadle.state.views import learner_of

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
        >>> class Autoencoding(AbstractTrainingPhase):
        ...     "Train a model to give back its inputs."
        ...     def step(self, learner, batch):
        ...         with run_step(learner, self, xs=batch[0], ys=batch[0]) as (handle, state):
        ...             state.yhats = handle(Forward)
        ...             handle(LossBegin)
        ...             state.loss = handle(Loss)
        ...             run_update(learner, self)
        >>> learner = toy_learner()
        >>> result = learner.fit(150, phases=[Autoencoding()])
        >>> round(learner.model.weight.item(), 1)
        1.0
    """
    position = learner.position
    if not position.stepping:
        raise CallbackError(
            "run_update was called outside of a step.\n"
            "Fix: call it in the step of a phase:\n"
            "    with run_step(learner, self, xs=xs, ys=ys) as (handle, state): ..."
        )
    handle, state, updates = learner.handle(phase), learner.step, position.updates
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
    try:
        handle[BackwardBegin]()
        handle[Backward]()
        state.grads = learner.grads if target.models is None else target.grads(learner)
        handle[BackwardEnd]()
        if state.accumulating:
            updates.keep(learner, target)
        else:
            complete(handle)
    except CancelUpdateException:
        updates.drop(learner, target)
    finally:
        updates.target, updates.open = WHOLE, False


def complete(handle: Handle) -> None:
    """The part of an update for which the gradients are whole."""
    handle[FinalizeGradients]()
    handle[UpdateBegin]()
    if handle[Update]() is not False:
        handle[UpdateEnd]()


def complete_unfinished(learner: Learner, phase: Phase, handle: Handle) -> None:
    """Complete the updates that an epoch ends in, with a state of a step that has `grads` and `accumulating`."""
    position, outer = learner.position, learner.step
    updates = position.updates
    updates.open = position.stepping = True
    try:
        for target in list(updates.unfinished):
            updates.complete(learner, target)
            learner.step = PropDict(grads=target.grads(learner), accumulating=False)
            try:
                complete(handle)
            except (CancelUpdateException, CancelStepException):
                updates.drop(learner, target)
    finally:  # what is left by a cancel or an error has been changed already, and is no sum of gradients any more
        updates.drop_all(learner)
        updates.target, updates.open, position.stepping, learner.step = WHOLE, False, False, outer


class Target(NamedTuple):
    """What an update is of.

    Attributes:
        loss: The name of the loss in the step's state.
        models: The names of the models that it changes, or None for all.
    """

    loss: str = "loss"
    models: tuple[str, ...] | None = None

    def overlaps(self, other: Target) -> bool:
        """Whether both change a model."""
        return self.models is None or other.models is None or not set(self.models).isdisjoint(other.models)

    # Each takes a learner, or the view that a callback has of it, with what that declares.

    def optimizers(self, learner: Any) -> list[torch.optim.Optimizer]:
        """The optimizers that it lets step."""
        optimizer = learner.optimizer
        return optimizers_of(optimizer if self.models is None else {n: named(optimizer)[n] for n in self.models})

    def params(self, learner: Any) -> Mapping[str, Any]:
        """The parameters by name, as in `learner.params`."""
        params = learner.params
        return params if self.models is None else PropDict({name: named(params)[name] for name in self.models})

    def grads(self, learner: Any) -> Gradients:
        """Their gradients by name."""
        return Gradients(self.params(learner))

    def parameters(self, learner: Any) -> list[torch.nn.Parameter]:
        """Their parameters, those of the models and those that only an optimizer holds, each once.

        Of a view it takes the optimizer; the parameters of the models are where their gradients are.
        """
        found = {id(parameter): parameter for _, parameter in named_tensors(self.params(learner_of(learner)))}
        for optimizer in self.optimizers(learner):
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    found.setdefault(id(parameter), parameter)
        return list(found.values())


#: The update of all models by `step.loss`.
WHOLE = Target()


def target_of(learner: Learner, loss: str, models: str | Iterable[str] | None) -> Target:
    """What an update is of, checked against the learner."""
    if not isinstance(loss, str) or loss not in learner.step:
        raise ArgumentValueError(
            f"run_update got the loss {loss!r}, and the step has no such entry. "
            f"{did_you_mean(str(loss), learner.step)}\n"
            f"Fix: set it before:\n    state.{loss} = ..."
        )
    if models is None:
        return Target(loss)
    names = (models,) if isinstance(models, str) else tuple(models)
    known = named(learner.model) if len(learner.models) > 1 or not isinstance(learner.model, torch.nn.Module) else {}
    if not names or any(name not in known for name in names):
        listed = f"has the models {', '.join(known)}" if known else "has one model, without a name"
        raise ArgumentValueError(
            f"run_update got models={models!r}, and the learner {listed}.\n"
            f"Fix: {'name some of them' if known else 'leave it out'}:\n"
            f"    run_update(learner, self{f', models={next(iter(known))!r}' if known else ''})"
        )
    target = Target(loss, names)
    if not isinstance(learner.optimizer, PropDict) or any(name not in named(learner.optimizer) for name in names):
        raise ArgumentValueError(
            f"run_update got models={models!r}, which have no optimizer of their own.\n"
            f"Fix: give the learner one for each model:\n    optimizer={{{names[0]!r}: torch.optim.Adam, ...}}"
        )
    own = {id(parameter) for name in names for parameter in named(learner.model)[name].parameters()}
    for other, model in known.items():
        if other not in names:
            held = {id(parameter) for parameter in model.parameters()} - own
            for optimizer in target.optimizers(learner):
                if any(id(parameter) in held for group in optimizer.param_groups for parameter in group["params"]):
                    raise ArgumentValueError(
                        f"run_update got models={models!r}, and their optimizer holds parameters of {other} as well, "
                        f"which it would change.\n"
                        f"Fix: give each model an optimizer of its own:\n"
                        f"    optimizer={{{names[0]!r}: torch.optim.Adam, {other!r}: torch.optim.Adam}}"
                    )
    return target


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
        began: Whether a backward pass began in the step that is under way, or that was the last.
        batches: How many batches were in the gradients of the target when its update began in the step.
        states: What callbacks keep with the gradients since the last backward pass, by their names.
        kept: Those that the step under way has kept.
        ran: Whether `run_update` was called in the step under way, or in the last one.
        undecided: Whether the phase has left it to `run_update` whether the step accumulates.
    """

    __slots__ = ("batches", "began", "kept", "open", "ran", "states", "target", "undecided", "unfinished")

    def __init__(self) -> None:
        self.target = WHOLE
        self.unfinished: dict[Target, Unfinished] = {}
        self.open = self.began = self.ran = self.undecided = False
        self.batches = 0
        self.states: dict[str, dict[str, Any]] = {}
        self.kept: tuple[Target, ...] = ()

    def begin_step(self, learner: Learner) -> None:
        """A training step begins. Clear what a phase that goes its own way has left in the gradients."""
        if not self.began and not self.unfinished:
            clear_gradients(learner)
        self.target, self.kept = WHOLE, ()
        self.open = self.began = self.ran = self.undecided = False
        self.begin(learner, WHOLE)

    def begin(self, learner: Learner, target: Target) -> None:
        """An update of a target begins, or goes on."""
        unfinished = self.unfinished.get(target) if self.unfinished else None
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
        if self.target in self.unfinished:
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
        for other in self.unfinished:
            if target.overlaps(other):
                self.refuse_mixed(target, other)
        if target in self.kept and not self.undecided:
            self.refuse_mixed(target, target)
        self.kept += (target,)
        self.keep_gradients(learner, target)

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


def shown(target: Target) -> str:
    """A target as it was asked for."""
    models = "all models" if target.models is None else ", ".join(target.models)
    return models if target.loss == "loss" else f"{models} by {target.loss}"


def keep_gradients(learner: Any) -> None:
    """Let the next backward pass of the update under way add to its gradients, instead of starting from none.

    For callbacks that compute the gradients of an update anew, of several batches, with
    `learner.loop.perform(Backward)` for each.

    Example:
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
        >>> from treadle.operations import Forward, Loss
        >>> learner = toy_learner(Twice(), nbatches=1, data=([(torch.ones(1, 1), torch.ones(1, 1))],))
        >>> result = learner.fit(1)
        >>> learner.step.grads["weight"].item()
        -2.0
    """
    updates = learner_of(learner).position.updates
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
    target: Target = learner_of(learner).position.updates.target
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
    updates = learner_of(learner).position.updates
    unfinished = updates.unfinished.get(updates.target)
    states = updates.states if unfinished is None else unfinished.states
    state: dict[str, Any] = states.setdefault(getattr(learner, "_owner", ""), {})
    return state
