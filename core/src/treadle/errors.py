"""Typed exceptions: cancels, protection, conflicts, bad input.

A message says what was wrong, who did it and where, and then, after `Fix:`, what to do about it.
"""

from __future__ import annotations

import difflib
import os
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.callback import Callback


class FitException(Exception):
    """Raised during fitting to change its course; not an error.

    Such a cancel is a request: where a handler of an event raises it, the event's other handlers still run, and then
    it takes effect; of several, the widest does (of the fit for good, the fit, the epoch, the step, the update). So
    whether a callback sees an event depends on nobody else. An operation is cut off at once.

    Attributes:
        callback: The callback that raised it, or None.
    """

    callback: Callback | None = None


class CancelStepException(FitException):
    """Raise it in a step to end that step; its `StepEnd` is not dispatched. See `FitException`.

    Example:
        >>> from treadle import Callback, TrainingPhase, toy_learner
        >>> class DryRun(Callback):
        ...     "Apply the model and learn nothing."
        ...     def on_loss_begin(self, phase: TrainingPhase):
        ...         raise CancelStepException("No loss in a dry run.")
        >>> toy_learner(DryRun()).fit(1)
        FitResult(epochs=1, steps=0, cancelled=None)
    """


class CancelUpdateException(FitException):
    """Raise it in an update to drop its gradients; there is no `UpdateEnd`, and the step goes on. See `FitException`.

    Example:
        >>> from treadle import Callback, Read, UpdateEnd, toy_learner
        >>> class SkipSpikes(Callback):
        ...     "Learn nothing from a batch whose gradient is out of the ordinary."
        ...     state_access = {"step.grads": Read}
        ...     def on_update_begin(self, learner):
        ...         if learner.step.grads["weight"].abs() > 50:
        ...             raise CancelUpdateException("A spike.")
        >>> learner = toy_learner(SkipSpikes())
        >>> learner.fit(1).steps, learner.progress.updates < 16
        (16, True)
    """


class CancelEpochException(FitException):
    """Raise it in an epoch to end that epoch; its `EpochEnd` is dispatched all the same. See `FitException`.

    Example:
        >>> from treadle import Callback, TrainingPhase, toy_learner
        >>> class ShortEpochs(Callback):
        ...     "End each epoch of training with its third step."
        ...     def on_epoch_begin(self):
        ...         self.left = 3
        ...     def on_step_end(self, phase: TrainingPhase):
        ...         self.left -= 1
        ...         if not self.left:
        ...             raise CancelEpochException("Three steps are enough.")
        >>> toy_learner(ShortEpochs()).fit(2).steps
        6
    """


class CancelFittingException(FitException):
    """Raise it to end the whole fit; `fit` returns it as `FitResult.cancelled`. See `FitException`.

    Attributes:
        final: Whether the training is done by that, as when `EarlyStopping` ends it: a fit that is resumed from a
            checkpoint of that moment ends at once, as this one did. Default: no, it goes on.

    A checkpoint holds a final one by the name of its class and its `state_dict`, so that the resumed fit returns an
    equal one.

    Example:
        >>> from treadle import Callback, Read, TrainingPhase, toy_learner
        >>> class GoodEnough(Callback):
        ...     "Stop as soon as the loss is below one."
        ...     state_access = {"step.loss": Read}
        ...     def on_step_end(self, learner, phase: TrainingPhase):
        ...         if learner.step.loss < 1:
        ...             raise CancelFittingException("The loss is below one.")
        >>> cancelled = toy_learner(GoodEnough()).fit(1000).cancelled
        >>> cancelled, cancelled.callback
        (CancelFittingException('The loss is below one.'), <GoodEnough>)
    """

    final = False

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds of it. Default: its arguments and its attributes.

        Override it, and `load_state_dict`, if these are more than numbers, texts, tensors, lists, tuples and
        dictionaries.
        """
        held: Any = object.__getstate__(self)
        fields, slots = held if isinstance(held, tuple) else (held, None)
        attributes = {**(fields or {}), **(slots or {})}
        left_out = {"callback", "__notes__"}
        return {
            "args": self.args,
            "attributes": {name: value for name, value in attributes.items() if name not in left_out},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, without `__init__`; `callback` is set."""
        self.args = tuple(state["args"])
        for name, value in state["attributes"].items():
            setattr(self, name, value)


class EndOfData(FitException):
    """What a process requests that has no further batch, where processes agree; it is not raised.

    See `treadle.operations.Agree`.
    """


class TreadleError(Exception):
    """Everything that Treadle itself refuses."""


class ProtectedException(TreadleError):
    """A callback used state of the learner that it did not declare.

    Attributes:
        path: The path that was used; None where no declaration would allow it.
        permission: What allows it: "Read" or "Write".

    Example:
        >>> from treadle import CustomCallback, EpochEnd, toy_learner
        >>> snoop = CustomCallback(lambda learner: print(learner.model), EpochEnd)
        >>> try:
        ...     result = toy_learner(snoop).fit(1)
        ... except ProtectedException as error:
        ...     print(str(error).split(".")[0])
        CustomCallback reads `model` and does not declare it
    """

    def __init__(self, message: str, path: str | None = None, permission: str = "Read") -> None:
        super().__init__(message)
        self.path, self.permission = path, permission


class CallbackError(TreadleError, TypeError):
    """A callback cannot be used: it is a class, a duplicate, has an unknown event name or a wrong signature."""


class AccessError(TreadleError, ValueError):
    """A declaration in `state_access` or `run_after` is invalid."""


class ArgumentError(TreadleError):
    """An argument cannot be used."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument has the wrong type."""


class ArgumentValueError(ArgumentError, ValueError):
    """An argument has the right type and an invalid value."""


class CancelError(TreadleError):
    """A cancel was raised where nothing that it could end is under way."""


class ThreadError(TreadleError, RuntimeError):
    """The loop of a learner was entered from a second thread."""


class DataError(TreadleError, ValueError):
    """The data do not fit: an empty loader, a batch that is not a pair, a phase without data."""


class LossError(TreadleError, ValueError):
    """The loss function returned what cannot be minimised."""


class PluginError(TreadleError, ImportError):
    """An installed plugin was asked for by name and cannot be used."""


class CheckpointError(TreadleError, ValueError):
    """The state of a run cannot be captured, saved, read or put back."""


class NotSaveableError(CheckpointError, TypeError):
    """A state holds something other than tensors and plain values."""


class NotResumableError(CheckpointError):
    """A run could not be resumed bit for bit, because of something that it uses."""


class MismatchError(CheckpointError):
    """A saved state and what it is to be put back into do not fit together."""


class DamagedCheckpointError(CheckpointError):
    """A saved state is incomplete or was changed."""


@dataclass(frozen=True)
class Problem:
    """One reason why a set of callbacks has no order: who is concerned, what is wrong, and how to fix it.

    Args:
        origin: Which distributions the callbacks come from, as the last line of the message. Default: none.
        refused: Whether somebody says `Unresolvable()`: that two must not be used together is then the answer, and not
            an open question. Default: False.
    """

    callbacks: tuple[Callback, ...]
    what: str
    fix: str
    origin: str = ""
    refused: bool = False

    def __str__(self) -> str:
        return "\n".join(filter(None, (self.what, f"Fix: {self.fix}", self.origin)))


class CallbackConflictError(TreadleError):
    """The callbacks cannot be brought into one order; holds every problem, not only the first.

    Attributes:
        problems: Every `Problem`, in a fixed order.

    Example:
        >>> from treadle import CustomCallback, StepEnd, Write, toy_learner
        >>> double = CustomCallback(lambda learner: None, StepEnd, state_access={"model": Write})
        >>> halve = CustomCallback(lambda learner: None, StepEnd, state_access={"model": Write})
        >>> double.name, halve.name = "Double", "Halve"
        >>> try:
        ...     learner = toy_learner(double, halve)
        ... except CallbackConflictError as error:
        ...     print(error.problems[0].what)
        Double and Halve both write `model`, and nothing orders them.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        listing = "\n".join(f"{i}. {problem}".replace("\n", "\n   ") for i, problem in enumerate(problems, 1))
        super().__init__(f"The callbacks have {count} that must be solved before training:\n{listing}")

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: the line of the user that led here, without those of this package, and the message.

        The lines of the package say nothing about the conflict, and would stand above and below every problem.
        """
        package = os.path.dirname(__file__)
        frames = traceback.extract_tb(self.__traceback__)
        own = next((i for i, frame in enumerate(frames) if frame.filename.startswith(package)), len(frames))
        lines = "".join(traceback.format_list(frames[max(own - 1, 0) : own]))
        return [f"{lines}\n{type(self).__name__}: {self}"]

    def __reduce__(self) -> tuple[type[CallbackConflictError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that guesses the slip, or lists what there is.

    Example:
        >>> did_you_mean("on_step_ends", ["on_step_end", "on_fit_end"])
        'Did you mean `on_step_end`?'
        >>> did_you_mean("loss", [])
        'There is none.'
    """
    name, known = str(name), sorted(map(str, known))
    if guess := closest(name, known):
        return f"Did you mean `{guess}`?"
    return f"There is: {', '.join(known)}." if known else "There is none."


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name that was meant, if one of those that are known is close.

    Args:
        cutoff: How alike the two must be, from 0 to 1.

    Example:
        >>> closest("recoder", ["recorder", "metrics"]), closest("my_own", ["recorder", "metrics"])
        ('recorder', None)
    """
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    return close[0] if close else None
