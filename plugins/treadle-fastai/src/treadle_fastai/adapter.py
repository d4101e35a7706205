"""`Adapter`: what Treadle's events and the learner's state are for a callback that is written for fastai v1."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import CodeType
from typing import Any

import treadle
from treadle import (
    AbstractTrainingPhase,
    AbstractValidationPhase,
    CancelEpochException,
    CancelFittingException,
    CancelUpdateException,
    FitException,
    Permission,
    Phase,
    PropDict,
    Read,
    Write,
)
from treadle.authoring import handles, keep_gradients, position_of, unwrap, update_under_way
from treadle.errors import CallbackError
from treadle.operations import FinalizeGradients

from treadle_fastai.average_metric import rows_of
from treadle_fastai.callback import Callback, LearnerCallback
from treadle_fastai.callback_handler import CallbackHandler
from treadle_fastai.handlers import FLAGS, HANDLERS, KEYWORDS, accepted, defined
from treadle_fastai.plain_state import refuse_waiting
from treadle_fastai.smoothen_value import SmoothenValue
from treadle_fastai.unlearnable import gradients_of, without_gradient

#: The keywords that stand for an entry of the step's state.
STEP = {"last_input": "xs", "last_target": "ys", "last_output": "yhats", "last_loss": "loss"}

#: The handlers that are called in a batch.
IN_BATCH = ("on_batch_begin", "on_loss_begin", "on_backward_begin", "on_backward_end", "on_step_end", "on_batch_end")

#: What a handler may return with an effect on the training; all else that it returns is for itself.
EFFECTS: dict[str, tuple[str, ...]] = {
    "on_train_begin": ("skip_validate",),
    "on_epoch_begin": (),
    "on_batch_begin": ("last_input", "last_target"),
    "on_loss_begin": ("last_output",),
    "on_backward_begin": ("last_loss", "skip_bwd"),
    "on_backward_end": ("skip_step", "skip_zero"),
    "on_step_end": ("skip_zero",),
    "on_batch_end": ("stop_epoch", "stop_training"),
    "on_epoch_end": ("last_metrics", "stop_training"),
    "on_train_end": (),
}

#: What only the loop counts or knows. A value that is the present one is no change.
THE_LOOPS = ("n_epochs", "epoch", "iteration", "num_batch", "train", "pbar", "metrics", "smooth_loss")


def default_access(callback: Callback) -> dict[str, type[Permission]]:
    """What a callback may touch, by the handlers that it defines."""
    found = set(defined(callback, Callback))
    access: dict[str, type[Permission]] = {}
    if found.intersection(IN_BATCH):
        access |= {"step.xs": Read, "step.ys": Read}
    if found.intersection(IN_BATCH[1:]):
        access["step.yhats"] = Read
    if found.intersection(IN_BATCH[2:]) or "on_epoch_end" in found:
        access["step.loss"] = Read
    if "on_epoch_end" in found:
        access["step.ys"] = Read  # whose rows weigh the losses of validation
    if "on_batch_begin" in found:
        access |= {"step.xs": Write, "step.ys": Write}
    if "on_loss_begin" in found:
        access["step.yhats"] = Write
    if "on_backward_begin" in found:
        access |= {"step.loss": Write, "optimizer": Read}
    if found.intersection(("on_backward_end", "on_step_end")):
        access["callbacks"] = Read  # to refuse gradients that are kept beside those that somebody makes whole
    if isinstance(callback, LearnerCallback):
        access |= {"model": Write, "optimizer": Write, "lossfn": Write, "data": Write}
    return access


class Adapter(treadle.Callback):
    """Handles Treadle's events for a callback of fastai v1, under what that declares.

    What the callbacks of a learner share stands in `cbstate.fastai`; nothing of the state is kept here.

    Args:
        callback: The callback.
    """

    def __init__(self, callback: Callback) -> None:
        self.callback = callback
        self.name = callback.name
        self._defined = defined(callback, Callback)
        self._handler = CallbackHandler([callback])
        self._outer: BaseException | None = None
        self._in_update = False
        access = callback.state_access
        self._entries = {key: entry for key, entry in STEP.items() if permitted(access, f"step.{entry}")}
        self._smooths = "last_loss" in self._entries and any(
            self._passes(name, "smooth_loss") for name in self._defined
        )
        self._may_keep = permitted(access, "callbacks")
        for hook in self._unused():
            vars(self)[hook] = None  # a handler that is None is none

    def _passes(self, handler: str, keyword: str) -> bool:
        takes = accepted(getattr(self.callback, handler))
        return takes is None or keyword in takes

    def _may_skip_validation(self) -> bool:
        said = self.callback.skips_validation
        return names_constant(self.callback.on_train_begin, "skip_validate") if said is None else said

    def _unused(self) -> Iterator[str]:
        """The hooks for which the callback has no handler, and the smoothed loss no need."""
        has = set(self._defined)
        keeping = ["on_backward_end"] if self._may_keep else []
        needed = {
            "on_fit_begin": {"on_train_begin", "on_train_end"},
            "epoch": {"on_train_begin"} if self._may_skip_validation() else set(),
            "on_epoch_begin": {"on_epoch_begin"},
            "on_step_begin": {"on_batch_begin"},
            "on_loss_begin": {"on_loss_begin"},
            "on_backward_begin": {"on_backward_begin"},
            "on_backward_end": set(),
            "on_update_begin": {"on_backward_end", "on_step_end"},
            "on_update_end": {"on_step_end"},
            "on_step_end": {"on_step_end", "on_batch_end", "on_epoch_end", *keeping},
            "on_epoch_end": {"on_epoch_end", "on_step_end", "on_batch_end", *keeping},
            "on_fit_end": {"on_train_end"},
        }
        for hook, handlers in needed.items():
            if has.isdisjoint(handlers) and not (hook == "on_backward_end" and self._smooths):
                yield hook

    # Treadle's events.

    def on_fit_begin(self, learner: Any) -> None:
        self._outer = sys.exception()
        self._in_update = False
        length = position_of(learner).length
        shared = learner.cbstate.fastai = fresh(0 if length is None else length.began)
        if "on_train_begin" in self._defined:
            self._call(learner, "on_train_begin", metrics_names=[])
            if self._take("skip_validate"):
                if self.epoch is None:
                    raise CallbackError(
                        f"{self.name}.on_train_begin returned `skip_validate`, which does not stand in it, and that a "
                        f"callback leaves out validation has to be known before.\n"
                        f"Fix: say so in {type(self.callback).__name__}:\n    skips_validation = True"
                    )
                shared.skip_validate = True

    def epoch(self, learner: Any, phase: AbstractValidationPhase) -> bool | None:
        """Leave out a validation."""
        position = position_of(learner)
        leave_out = shared_by(learner).skip_validate and (goes_by_steps(position) or not position.nested)
        return True if leave_out else None

    def on_epoch_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        if begins_round(learner):
            self._call(learner, "on_epoch_begin", num_batch=0)

    # Where these two change what is computed, they do it in an evaluation and a prediction as well.

    def on_step_begin(self, learner: Any, phase: Phase) -> None:
        if phase.training is not None and not (self.callback._for_metrics and phase.training):
            self._call_in_batch(learner, phase, "on_batch_begin")

    def on_loss_begin(self, learner: Any, phase: Phase) -> None:
        if phase.training is not None and not (self.callback._for_metrics and phase.training):
            self._call_in_batch(learner, phase, "on_loss_begin")

    def on_backward_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        if "last_loss" in self._entries:
            smooth(learner)  # before it is changed, also for those that come later and are passed the mean
        parameters = update_under_way(learner).parameters(learner)
        before = gradients_of(parameters)
        self._call_in_batch(learner, phase, "on_backward_begin")
        if self._take("skip_bwd"):
            if gradients_of(parameters) != before:
                raise CallbackError(
                    f"{self.name} returned `skip_bwd` and has computed gradients by itself, and here a backward pass "
                    f"begins from none, so they would be lost.\n"
                    f"Fix: do it where Treadle computes gradients, in a callback of treadle.Callback:\n"
                    f"    def backward(self, learner): ...; return True"
                )
            learner.step.loss = without_gradient(learner.step.loss, parameters)

    def on_backward_end(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        smooth(learner)

    def on_update_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        shared = shared_by(learner)
        if shared.keep and not learner.progress.accumulated:
            raise CancelUpdateException("The gradients are kept for the next epoch.")  # nothing was added to them
        if shared.keep == self.name:
            shared.keep = ""
        self._in_update = True
        if "on_backward_end" in self._defined:
            self._call_in_batch(learner, phase, "on_backward_end")
            if self._handler.state_dict["skip_zero"] and not self._may_keep:
                self._keep_gradients(learner)
            if self._take("skip_step"):
                raise CancelUpdateException(f"{self.name} returned `skip_step`.")

    def on_update_end(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        self._end_update(learner, phase)

    def _end_update(self, learner: Any, phase: AbstractTrainingPhase, *, counted: bool = False) -> None:
        if self._in_update and "on_step_end" in self._defined:
            self._call_in_batch(learner, phase, "on_step_end", counted=counted)
        self._in_update = False

    def on_step_end(self, learner: Any, phase: AbstractTrainingPhase | AbstractValidationPhase) -> None:
        if isinstance(phase, AbstractTrainingPhase):
            self._end_update(learner, phase, counted=True)  # which was cancelled, or the optimizer made no step
            if self._take("skip_zero"):
                self._keep_gradients(learner)
        elif "on_epoch_end" in self._defined:
            add_loss(learner, self._entries)
        if "on_batch_end" in self._defined and not (self.callback._for_metrics and phase.training):
            self._call_in_batch(learner, phase, "on_batch_end", counted=True)
        if self._take("stop_training"):
            shared_by(learner).stop_training = self.name
        if self._take("stop_epoch"):
            raise CancelEpochException(f"{self.name} returned `stop_epoch`.")

    def on_epoch_end(self, learner: Any, phase: AbstractTrainingPhase | AbstractValidationPhase) -> None:
        shared = shared_by(learner)
        if isinstance(phase, AbstractTrainingPhase):
            self._end_update(learner, phase, counted=True)
            if shared.keep == self.name:
                keep_gradients(learner)
        if not ends_round(learner, phase, skip_validate=shared.skip_validate):
            return
        if "on_epoch_end" in self._defined:
            begin_metrics(learner)
            state = self._call(learner, "on_epoch_end")
            shared.last_metrics = list(state["last_metrics"])
            if self._take("stop_training"):
                shared.stop_training = self.name
        if shared.stop_training:
            raise CancelFittingException(f"{shared.stop_training} returned `stop_training`.")

    def on_fit_end(self, learner: Any) -> None:
        error = sys.exception()  # FitEnd is dispatched while it is on its way to the user
        ended = error is not None and error is not self._outer and not isinstance(error, FitException)
        self._outer = None
        self._call(learner, "on_train_end", exception=error if ended else False)

    # The gradients that the next batch adds to.

    def _keep_gradients(self, learner: Any) -> None:
        if not self._may_keep:
            raise CallbackError(
                f"{self.name} returned `skip_zero`, and whether that is possible depends on the other callbacks.\n"
                f'Fix: add to {type(self.callback).__name__}.state_access:\n    "callbacks": Read'
            )
        whole = [
            other.name
            for other in learner.callbacks
            if unwrap(other) is not self.callback and handles(other, FinalizeGradients)
        ]
        if whole:
            raise CallbackError(
                f"{self.name} returned `skip_zero`, and {', '.join(whole)} makes the gradients of an update whole, "
                f"which would be mixed with those of the next batch, that are not.\n"
                f"Fix: leave one of them out; Accumulate of treadle-optim goes with all others:\n    Accumulate(4)"
            )
        shared_by(learner).keep = self.name
        keep_gradients(learner)

    # A call of a handler.

    def _take(self, flag: str) -> bool:
        """Whether the callback asked for something; from then on it does not."""
        state = self._handler.state_dict
        asked, state[flag] = bool(state[flag]), False
        return asked

    def _call_in_batch(self, learner: Any, phase: Any, name: str, *, counted: bool = False) -> dict[str, Any]:
        """Call a handler with the state of the step, and write back what it changed of it.

        Args:
            counted: Whether the learner has counted the batch by then.
        """
        entries = [key for key in EFFECTS[name] if key in STEP]
        step = learner.step
        before = {key: step.get(STEP[key]) for key in entries if key in self._entries}
        state = self._call(learner, name, train=bool(phase.training), counted=counted)
        for key in entries:
            if state[key] is not before.get(key):
                step[STEP[key]] = state[key]
        return state

    def _call(
        self, learner: Any, name: str, *, train: bool | None = None, counted: bool = False, **more: Any
    ) -> dict[str, Any]:
        """Call a handler; returns the state, with what it returned in it."""
        if name not in ("on_train_begin", "on_train_end"):
            refuse_waiting(self.callback)
        state, shared = self._handler.state_dict, shared_by(learner)
        before = dict(state)  # nothing of a step; or what a handler was passed that has entered the loop again
        passed = {**state, **where(learner, counted), "smooth_loss": shared.smooth, "last_metrics": shared.last_metrics}
        passed["train"] = shared.train if train is None else train
        if observed(learner) and shared.train != passed["train"]:
            shared.train = passed["train"]
        step = learner.step if self._entries and name != "on_train_begin" else {}
        for key, entry in self._entries.items():
            value = step.get(entry)
            passed[key] = (
                value.detach() if key == "last_loss" and name != "on_backward_begin" and value is not None else value
            )
        passed |= {key: value for key, value in more.items() if key in state}
        state.update(passed)
        try:
            with self._seeing(learner):
                self._handler(name.removeprefix("on_"), **{k: v for k, v in more.items() if k not in state})
            self._refuse_without_effect(name, passed, state)
            return dict(state)
        finally:
            state.update({key: value for key, value in before.items() if key not in FLAGS})

    @contextmanager
    def _seeing(self, learner: Any) -> Iterator[None]:
        """Let the callback see the learner, in one of its handlers."""
        held = vars(self.callback)
        outer = held.get("_view")  # of a handler that has entered the loop again
        held["_view"] = learner
        try:
            yield
        finally:
            held["_view"] = outer
            if outer is None:
                del held["_view"]

    def _refuse_without_effect(self, name: str, passed: Mapping[str, Any], state: dict[str, Any]) -> None:
        """Refuse what was returned for a keyword that the loop does not take over from this handler."""
        for key in KEYWORDS:
            if key not in state or state[key] is passed[key] or key in EFFECTS[name]:
                continue
            if key in THE_LOOPS and same(state[key], passed[key]):
                continue
            value, state[key] = state[key], passed[key]
            takes = ", ".join(f"`{effect}`" for effect in EFFECTS[name]) or "nothing"
            at = ", ".join(handler for handler in HANDLERS if key in EFFECTS[handler])
            fix = f"return it from {at}." if at else "leave it out; only the loop counts that."
            raise CallbackError(
                f"{self.name}.{name} returned {key}={value!r:.40}, which changes nothing there: the loop takes over "
                f"{takes} from it.\nFix: {fix}"
            )


def permitted(access: Any, path: str) -> bool:
    """Whether a path, or one above it, is declared."""
    return any(path == declared or path.startswith(f"{declared}.") for declared in access)


def names_constant(function: Any, name: str) -> bool:
    """Whether a constant stands in a function, or in one that is defined in it."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    waiting = [code] if code is not None else []
    while waiting:
        constant = waiting.pop()
        if constant == name:
            return True
        if isinstance(constant, tuple | frozenset):
            waiting += constant
        elif isinstance(constant, CodeType):
            waiting += constant.co_consts
    return False


def same(first: Any, second: Any) -> bool:
    """Whether two values are equal; those that cannot be compared are not."""
    try:
        return bool(first == second)
    except Exception:
        return False


# What the callbacks of a learner share, in `cbstate.fastai`.


def shared_by(learner: Any) -> Any:
    """What is shared in the fit under way; made when it is first asked for."""
    length, shared = position_of(learner).length, learner.cbstate.get("fastai")
    if shared is not None and (length is None or shared.start == length.began):
        return shared
    shared = fresh(0 if length is None else length.began)
    if observed(learner):
        learner.cbstate.fastai = shared
    return shared


def fresh(start: int) -> PropDict:
    """What is shared when a training begins, after this number of training steps."""
    return PropDict(
        start=start,
        smoothed=0,  # how many losses are in the mean, the mean, and that divided by the sum of the weights
        mean=0.0,
        smooth=None,
        smoothed_at="",
        train=None,
        last_metrics=None,
        metrics_of=0,
        val_loss=0.0,  # a sum over rows, and their number
        val_rows=0,
        val_at="",
        skip_validate=False,
        stop_training="",
        keep="",
    )


def where(learner: Any, counted: bool) -> dict[str, Any]:
    """Where the training is, as fastai counts it: from 0."""
    progress, position = learner.progress, position_of(learner)
    in_training = progress.phase is not None and progress.phase.training
    done = int(in_training and counted)  # the batch that the handler is about
    start, length = shared_by(learner).start, position.length
    if length is None:
        epoch = max(progress.epoch - 1, 0)
    else:
        epoch = length.passes if length.by_steps else position.rounds // len(position.phases)
    return {
        "n_epochs": None if length is None else length.n,
        "epoch": epoch,
        "iteration": max(progress.steps - start - done, 0),
        "num_batch": max(progress.step - 1, 0),
    }


def place_of(learner: Any) -> str:
    """What tells one batch from another."""
    progress = learner.progress
    return f"{type(progress.phase).__name__} {progress.steps} {progress.epoch} {progress.step}"


def smooth(learner: Any) -> None:
    """Take the loss of a batch into the smoothed one, once for all callbacks."""
    shared, place = shared_by(learner), place_of(learner)
    if shared.smoothed_at != place:
        smoother = SmoothenValue(0.98)
        smoother.n, smoother.mov_avg = shared.smoothed, shared.mean
        smoother.add_value(learner.step.loss.detach().float())
        shared.smoothed_at, shared.smoothed = place, smoother.n
        shared.mean, shared.smooth = smoother.mov_avg, smoother.smooth


def add_loss(learner: Any, entries: Mapping[str, str]) -> None:
    """Take the loss of a batch of validation into that of the epoch, weighed by its rows; once for all callbacks."""
    shared, place, position = shared_by(learner), place_of(learner), position_of(learner)
    if shared.val_at == place or "last_loss" not in entries or (position.nested and not goes_by_steps(position)):
        return
    if learner.progress.step == 1:
        shared.val_loss, shared.val_rows = 0.0, 0
    rows = (rows_of(learner.step.get("ys")) if "last_target" in entries else None) or 1
    shared.val_at = place
    shared.val_loss = shared.val_loss + rows * learner.step.loss.detach()
    shared.val_rows += rows


def begin_metrics(learner: Any) -> None:
    """Begin the metrics of an epoch with the loss of its validation; once for all callbacks."""
    shared, epoch = shared_by(learner), learner.progress.epoch
    if shared.metrics_of != epoch:
        shared.last_metrics = [float(shared.val_loss) / shared.val_rows if shared.val_rows else None]
        shared.metrics_of, shared.val_loss, shared.val_rows = epoch, 0.0, 0


# An epoch as fastai means it: with its validation. In a fit that goes by steps it is a pass over the training data.


def goes_by_steps(position: Any) -> bool:
    """Whether the fit under way goes by steps, and validates in the middle of an epoch."""
    return position.length is not None and position.length.by_steps


def begins_round(learner: Any) -> bool:
    """Whether an epoch of training is the first one of an epoch as fastai means it."""
    position = position_of(learner)
    if position.nested or position.length is None or goes_by_steps(position):
        return not position.nested
    before = position.phases[: position.rounds % len(position.phases)]
    return not any(isinstance(phase, AbstractTrainingPhase) for phase in before)


def ends_round(learner: Any, phase: Any, *, skip_validate: bool) -> bool:
    """Whether an epoch is the last one of an epoch as fastai means it."""
    position = position_of(learner)
    if position.nested or position.length is None or goes_by_steps(position):
        return not position.nested and isinstance(phase, AbstractTrainingPhase)
    after = position.phases[position.rounds % len(position.phases) + 1 :]
    return not after or (skip_validate and all(isinstance(other, AbstractValidationPhase) for other in after))


def observed(learner: Any) -> bool:
    """Whether the phase under way is a part of the run."""
    phase = learner.progress.phase
    return phase is None or phase.observed
