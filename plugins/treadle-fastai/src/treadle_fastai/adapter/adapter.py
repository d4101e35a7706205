"""`Adapter`: calls the handlers of a callback of fastai v1 at Treadle's events, and does what they return."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import treadle
from treadle import (
    AbstractTrainingPhase,
    AbstractValidationPhase,
    CancelEpochException,
    CancelFittingException,
    CancelUpdateException,
    FitException,
    Phase,
)
from treadle.authoring import keep_gradients, position_of, update_under_way
from treadle.errors import CallbackError

from treadle_fastai.adapter.access import STEP, permitted
from treadle_fastai.adapter.code import names_constant, used_keywords
from treadle_fastai.adapter.kept import refuse_mixed
from treadle_fastai.adapter.rounds import (
    begins_round,
    completes,
    ends_round,
    epoch_of,
    goes_by_steps,
    in_training,
    iteration_of,
    place_of,
)
from treadle_fastai.adapter.shared import add_loss, begin, begin_metrics, count, shared_by, smooth
from treadle_fastai.adapter.unlearnable import gradients_of, without_gradient
from treadle_fastai.callback import Callback
from treadle_fastai.callback_handler import CallbackHandler
from treadle_fastai.handlers import HANDLERS, IN_BATCH, KEYWORDS, OF_A_BATCH, defined
from treadle_fastai.plain_state import refuse_waiting

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

#: The handlers that are called where no batch of training is under way, too.
OUTSIDE_TRAINING = ("on_epoch_begin", "on_batch_begin", "on_loss_begin", "on_batch_end", "on_epoch_end", "on_train_end")

#: What only the loop counts or knows. A value that is the present one is no change.
THE_LOOPS = ("n_epochs", "epoch", "iteration", "num_batch", "train", "pbar", "metrics", "smooth_loss")


@dataclass
class Batch:
    """What a callback has asked for in a batch.

    Args:
        place: Which batch it is.
        asked: For each keyword that decides about the rest of a batch, whether it was asked for.
        in_update: Whether its update has begun, and the callback was not called at the end of it.
    """

    place: str
    asked: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(OF_A_BATCH, False))
    in_update: bool = False

    def take(self, flag: str) -> bool:
        """Whether something was asked for; from then on it is not."""
        asked, self.asked[flag] = self.asked[flag], False
        return asked


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
        self._used = {name: used_keywords(getattr(callback, name), KEYWORDS) for name in self._defined}
        self._handler = CallbackHandler([callback])
        self._outer: BaseException | None = None
        self._batches: dict[int, Batch] = {}  # one for each level of the loop
        access = callback.state_access
        self._entries = {key: entry for key, (entry, _) in STEP.items() if permitted(access, f"step.{entry}")}
        self._smooths = "last_loss" in self._entries and self._uses("smooth_loss")
        self._measures = self._uses("last_metrics")
        self._may_keep = permitted(access, "callbacks")
        for hook in self._unused():
            vars(self)[hook] = None  # a handler that is None is none

    def _uses(self, keyword: str, *handlers: str) -> bool:
        """Whether a keyword is used in handlers of these names; by default in any."""
        return any(keyword in used for name, used in self._used.items() if name in (handlers or HANDLERS))

    def _may_skip_validation(self) -> bool:
        skips = self.callback.skips_validation
        return names_constant(self.callback.on_train_begin, "skip_validate") if skips is None else skips

    def _unused(self) -> Iterator[str]:
        """The hooks for which the callback has no handler, and the smoothed loss no need."""
        has = set(self._defined)
        keeping = ["on_backward_end"] if self._may_keep else []
        counting = [name for name in OUTSIDE_TRAINING if self._uses("num_batch", name) or self._uses("train", name)]
        measuring = self._defined if self._measures else ()
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
            "on_step_end": {"on_step_end", "on_batch_end", *keeping, *counting, *measuring},
            "on_epoch_end": {"on_epoch_end", "on_step_end", "on_batch_end", *keeping, *measuring},
            "on_fit_end": {"on_train_end"},
        }
        for hook, handlers in needed.items():
            if has.isdisjoint(handlers) and not (hook == "on_backward_end" and self._smooths):
                yield hook

    # Treadle's events.

    def on_fit_begin(self, learner: Any) -> None:
        self._outer = sys.exception()
        self._batches.clear()
        shared = begin(learner)
        if "on_train_begin" in self._defined:
            state = self._call(learner, "on_train_begin", metrics_names=[])
            if state["skip_validate"] != shared.skip_validate:
                if self.epoch is None:
                    raise CallbackError(
                        f"{self.name}.on_train_begin returned `skip_validate`, which does not stand in it, and that a "
                        f"callback leaves out validation has to be known before.\n"
                        f"Fix: say so in {type(self.callback).__name__}:\n    skips_validation = True"
                    )
                shared.skip_validate = bool(state["skip_validate"])

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
        if self._batch(learner).take("skip_bwd"):
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
        shared, counted = shared_by(learner), completes(learner)
        if shared.keep and not learner.progress.accumulated:
            raise CancelUpdateException("The gradients are kept for the next epoch.")  # nothing was added to them
        if shared.keep == self.name:
            shared.keep = ""
        batch = self._batch(learner)
        batch.in_update = True
        if "on_backward_end" in self._defined:
            self._call_in_batch(learner, phase, "on_backward_end", counted=counted)
            if batch.asked["skip_step"]:
                shared.skipped = batch.place
            if batch.asked["skip_zero"]:
                self._refuse_mixed(learner, batch)
            if batch.take("skip_step"):
                raise CancelUpdateException(f"{self.name} returned `skip_step`.")

    def on_update_end(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        self._end_update(learner, phase, self._batch(learner), counted=completes(learner))

    def _end_update(self, learner: Any, phase: AbstractTrainingPhase, batch: Batch, *, counted: bool) -> None:
        if batch.in_update and "on_step_end" in self._defined:
            self._call_in_batch(learner, phase, "on_step_end", counted=counted)
        batch.in_update = False

    def on_step_end(self, learner: Any, phase: AbstractTrainingPhase | AbstractValidationPhase) -> None:
        count(learner, train=bool(phase.training))
        batch = self._batch(learner)
        if isinstance(phase, AbstractTrainingPhase):
            self._end_update(learner, phase, batch, counted=True)  # which was cancelled, or nothing was changed
            if batch.take("skip_zero"):
                self._keep_gradients(learner, batch)
        elif self._measures:
            add_loss(learner, self._entries)
        if "on_batch_end" in self._defined and not (self.callback._for_metrics and phase.training):
            self._call_in_batch(learner, phase, "on_batch_end", counted=True)
        self._batches.pop(len(position_of(learner).scopes), None)
        if batch.asked["stop_epoch"]:
            raise CancelEpochException(f"{self.name} returned `stop_epoch`.")

    def on_epoch_end(self, learner: Any, phase: AbstractTrainingPhase | AbstractValidationPhase) -> None:
        shared = shared_by(learner)
        if isinstance(phase, AbstractTrainingPhase):
            batch = self._batch(learner)
            self._end_update(learner, phase, batch, counted=True)
            if batch.take("skip_zero") or shared.keep == self.name:
                self._keep_gradients(learner, batch)
        if not ends_round(learner, phase, skip_validate=shared.skip_validate):
            return
        if self._measures or "on_epoch_end" in self._defined:
            begin_metrics(learner)
        if "on_epoch_end" in self._defined:
            state = self._call(learner, "on_epoch_end")
            shared.last_metrics = list(state["last_metrics"])
        if shared.stop_training:
            raise CancelFittingException(f"{shared.stop_training} returned `stop_training`.")

    def on_fit_end(self, learner: Any) -> None:
        error = sys.exception()  # FitEnd is dispatched while it is on its way to the user
        ended = error is not None and error is not self._outer and not isinstance(error, FitException)
        self._outer = None
        self._call(learner, "on_train_end", exception=error if ended else False)

    # The gradients that the next batch adds to.

    def _refuse_mixed(self, learner: Any, batch: Batch) -> None:
        skipped = shared_by(learner).skipped == batch.place
        refuse_mixed(self.callback, learner, allowed=self._may_keep, skipped=skipped)

    def _keep_gradients(self, learner: Any, batch: Batch) -> None:
        self._refuse_mixed(learner, batch)
        shared_by(learner).keep = self.name
        keep_gradients(learner)

    # A call of a handler.

    def _batch(self, learner: Any) -> Batch:
        """What was asked for in the batch under way: nothing, when it begins."""
        level, place = len(position_of(learner).scopes), place_of(learner)
        batch = self._batches.get(level)
        if batch is None or batch.place != place:
            batch = self._batches[level] = Batch(place)
        return batch

    def _call_in_batch(self, learner: Any, phase: Any, name: str, *, counted: bool = False) -> None:
        """Call a handler with the state of the step, and write back what it changed of it."""
        entries = [key for key in EFFECTS[name] if key in STEP]
        step = learner.step
        before = {key: step.get(STEP[key][0]) for key in entries if key in self._entries}
        state = self._call(learner, name, train=bool(phase.training), counted=counted)
        for key in entries:
            if state[key] is not before.get(key):
                step[STEP[key][0]] = state[key]

    def _call(
        self, learner: Any, name: str, *, train: bool | None = None, counted: bool = False, **more: Any
    ) -> dict[str, Any]:
        """Call a handler; returns the state, with what it returned in it."""
        if name not in ("on_train_begin", "on_train_end"):
            refuse_waiting(self.callback)
        state, shared, batch = self._handler.state_dict, shared_by(learner), self._batch(learner)
        before = dict(state)  # nothing of a step; or what a handler was passed that has entered the loop again
        state.update(self._passed(learner, name, shared, batch, counted=counted))
        if train is not None:
            state["train"] = train
        state.update({key: value for key, value in more.items() if key in state})
        passed = dict(state)
        try:
            with self._seeing(learner):
                self._handler(name.removeprefix("on_"), **{k: v for k, v in more.items() if k not in state})
            self._refuse_without_effect(name, passed, state)
            batch.asked.update({flag: bool(state[flag]) for flag in OF_A_BATCH})
            if bool(state["stop_training"]) != passed["stop_training"]:  # as in fastai, it can be taken back
                shared.stop_training = self.name if state["stop_training"] else ""
            return dict(state)
        finally:
            state.update(before)

    def _passed(self, learner: Any, name: str, shared: Any, batch: Batch, *, counted: bool) -> dict[str, Any]:
        """The values of the keywords."""
        length, progress = position_of(learner).length, learner.progress
        passed = {
            "n_epochs": None if length is None else length.n,
            "epoch": epoch_of(learner, skip_validate=shared.skip_validate),
            "iteration": iteration_of(learner, shared.start, counted=counted),
            "num_batch": progress.step - 1 if name in IN_BATCH and in_training(learner) else shared.num_batch,
            "smooth_loss": shared.smooth,
            "last_metrics": shared.last_metrics,
            "train": shared.train,
            "skip_validate": shared.skip_validate,
            "stop_training": bool(shared.stop_training),
            **batch.asked,
        }
        step = learner.step if self._entries and name != "on_train_begin" else {}
        for key, entry in self._entries.items():
            passed[key] = step.get(entry)
        if name != "on_backward_begin" and passed.get("last_loss") is not None:
            passed["last_loss"] = passed["last_loss"].detach()
        return passed

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
            if key == "epoch" and name == "on_train_begin":
                fix = 'resume the run, whose checkpoints hold all of its state:\n    resume(learner, "runs/folder")'
            raise CallbackError(
                f"{self.name}.{name} returned {key}={value!r:.40}, which changes nothing there: the loop takes over "
                f"{takes} from it.\nFix: {fix}"
            )


def same(first: Any, second: Any) -> bool:
    """Whether two values are equal; those that cannot be compared are not."""
    try:
        return bool(first == second)
    except Exception:
        return False
