"""The loop's scopes: an epoch and a step, with their begin, their end and their cancels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from treadle.errors import ArgumentTypeError, CancelEpochException, CancelStepException, DataError, FitException
from treadle.events import EpochBegin, EpochEnd, StepBegin, StepEnd
from treadle.loop.batches import check_data
from treadle.operations import Epoch, Step
from treadle.state.modes import modes
from treadle.state.propdict import PropDict
from treadle.state.random_state import preserved_random_state

if TYPE_CHECKING:
    from treadle.dispatch.dispatcher import Handle
    from treadle.learner import Learner
    from treadle.phases import Phase


class run_epoch:
    """The scope of an epoch: `with run_epoch(learner, phase) as handle:`.

    Dispatches `EpochBegin` and `EpochEnd`; `EpochEnd` follows a full epoch and one that was ended
    by `CancelEpochException`, but neither a cancelled fit nor an error. `handle(Event)` dispatches
    an event, `handle(Operation)` does an operation and returns its result.

    Args:
        learner: The learner.
        phase: The phase.

    Example:
        >>> from treadle import CancelEpochException, TrainingPhase, step, toy_learner
        >>> learner, phase = toy_learner(), TrainingPhase()
        >>> with run_epoch(learner, phase):
        ...     for batch in learner.data.training:
        ...         state = step(learner, phase, batch)
        ...         if state.loss < 1:
        ...             raise CancelEpochException("Reached the target loss.")
    """

    __slots__ = ("_handle", "_learner", "_phase", "_scope")

    def __init__(self, learner: Learner, phase: Phase) -> None:
        self._learner, self._phase = learner, phase
        self._scope: AbstractContextManager[None] = phase_scope(learner, phase)

    def __enter__(self) -> Handle:
        self._handle = handle = self._learner.handle(self._phase or no_phase())
        self._scope.__enter__()
        progress = self._learner.progress
        progress.epoch += bool(self._phase.training)
        progress.step = 0
        try:
            handle[EpochBegin]()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return handle

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        cancelled = isinstance(error, CancelEpochException)
        progress = self._learner.progress
        try:
            if kind is None:
                progress.epochs += bool(self._phase.training)
                self._handle[EpochEnd]()
            elif cancelled:
                self._handle[EpochEnd]()
            elif error is not None and not isinstance(error, FitException):
                note_place(error, self._learner, self._phase)
        except CancelEpochException:
            cancelled = True  # it ends anyway
        finally:
            self._scope.__exit__(None, None, None)
        if progress.phase is None and (kind is None or cancelled):
            self._learner.position.rounds += 1
        return cancelled


class run_step:
    """The scope of a step: `with run_step(learner, phase, xs=xs, ys=ys) as (handle, state):`.

    Makes the step's state, which is `learner.step` from then on, and dispatches `StepBegin` and
    `StepEnd`; a step ended by `CancelStepException` has no `StepEnd`.

    Args:
        learner: The learner.
        phase: The phase.
        **initial: What the state starts with.

    Example:
        >>> from treadle import LossBegin, ValidationPhase, toy_learner
        >>> learner = toy_learner()
        >>> xs, ys = learner.data.validation[0]
        >>> with run_step(learner, ValidationPhase(), xs=xs, ys=ys) as (handle, state):
        ...     state.yhats = learner.model(state.xs)
        ...     handle(LossBegin)
        >>> sorted(learner.step)
        ['xs', 'yhats', 'ys']
    """

    __slots__ = ("_handle", "_learner", "_phase", "_scope", "_state")

    def __init__(self, learner: Learner, phase: Phase, /, **initial: Any) -> None:
        self._learner, self._phase = learner, phase
        self._state = state = PropDict.__new__(PropDict)
        state.__dict__ = initial
        self._scope: AbstractContextManager[None] | None = None

    def __enter__(self) -> tuple[Handle, PropDict]:
        learner, phase = self._learner, self._phase or no_phase()
        handle = learner.current
        if handle.phase is not phase:
            handle = learner.handle(phase)
        self._handle = handle
        progress = learner.progress
        if type(progress.phase) is not type(phase):  # a step on its own, outside of an epoch
            self._scope = phase_scope(learner, phase)
            self._scope.__enter__()
        progress.step += 1
        learner.step = self._state
        if phase.training:
            position = learner.position
            if position.clear_gradients:
                learner.clear_gradients()
                progress.accumulated = 0
            position.clear_gradients = True
        try:
            handle[StepBegin]()
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return handle, self._state

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        progress = self._learner.progress
        try:
            if error is None:
                if self._phase.training:
                    progress.steps += 1
                self._handle[StepEnd]()
                return False
            self._learner.position.clear_gradients, progress.accumulated = True, 0
            if not isinstance(error, FitException):
                note_place(error, self._learner, self._phase)
            return isinstance(error, CancelStepException)
        except CancelStepException:  # by a handler of StepEnd: it ends anyway
            return True
        finally:
            if self._scope is not None:
                self._scope.__exit__(None, None, None)


def no_phase() -> NoReturn:
    """Refuse None, which stands for what happens outside of all phases."""
    raise ArgumentTypeError("A phase is needed, got None: TrainingPhase()")


def note_place(error: BaseException, learner: Learner, phase: Phase) -> None:
    """Note on an exception where the learner stood, unless that is noted already."""
    if not any(note.startswith("Raised ") for note in getattr(error, "__notes__", ())):
        progress = learner.progress
        error.add_note(f"Raised in {type(phase).__name__}, epoch {progress.epoch}, step {progress.step}.")


def epoch(learner: Learner, phase: Phase, data: Any = None) -> None:
    """Run one epoch.

    Args:
        learner: The learner.
        phase: The phase; its `epoch` method says how.
        data: An iterable of batches. Default: the learner's data of that phase. What is given here
            stands in `learner.data` while the epoch runs.

    Raises:
        DataError: if the phase has no data, or there is no batch in it.

    Example:
        >>> from treadle import TrainingPhase, toy_learner
        >>> learner = toy_learner()
        >>> epoch(learner, TrainingPhase())
        >>> learner.progress.steps
        16
    """
    handle = learner.handle(phase or no_phase())
    name, before = phase.data_name, learner.data
    if data is None:
        if name is None:
            raise DataError(
                f"{phase} has no data of its own in the learner. Pass them: epoch(learner, {phase}, data); or say "
                f'where they are: data_name = "training" in {type(phase).__name__}'
            )
        if name not in before:
            raise DataError(
                f"{phase} runs over learner.data.{name}, and the learner has no such data (there is: "
                f"{', '.join(before) or 'nothing'}). "
                f"Pass them: epoch(learner, {phase}, data), or Learner(..., data={{{name!r}: data}})"
            )
        data = before[name]
    check_data(data, f"{phase}")
    given = name is not None and (name not in before or before[name] is not data)
    if name is not None and given:
        learner.data = PropDict({**vars(before), name: data})
    position = learner.position
    rounds = position.rounds + (learner.progress.phase is None)
    try:
        handle[Epoch](data)
    except CancelEpochException:
        pass  # raised by a handler of EpochBegin, before the epoch's own scope could catch it
    finally:
        if given:
            learner.data = before
    position.rounds = rounds  # also if a callback answered for the epoch, or ran others inside of it


def step(learner: Learner, phase: Phase, batch: Any) -> PropDict:
    """Run one step.

    Args:
        learner: The learner.
        phase: The phase; its `step` method says how.
        batch: What the phase takes; for the phases of this package a pair (inputs, targets).

    Returns:
        The step's state.

    Example:
        >>> from treadle import TrainingPhase, toy_learner
        >>> learner = toy_learner()
        >>> state = step(learner, TrainingPhase(), learner.data.training[0])
        >>> sorted(state)
        ['grads', 'loss', 'xs', 'yhats', 'ys']
    """
    try:
        learner.handle(phase or no_phase())[Step](batch)
    except CancelStepException:
        pass  # raised by a handler of StepBegin, before the step's own scope could catch it
    return learner.step


@contextmanager
def phase_scope(learner: Learner, phase: Phase) -> Iterator[None]:
    """Make the learner's models ready for a phase, and leave them as they were.

    A training phase wants models in training mode, a validation phase in eval mode, without
    gradients and without a trace in the random generators; see `Phase.training`.
    """
    progress, position = learner.progress, learner.position
    outer = progress.phase, progress.step, position.skipped, position.at_entry, position.at_start
    progress.phase, position.skipped = phase, 0
    position.at_entry = position.at_start = None
    with ExitStack() as stack:
        if phase.training is not None:
            stack.enter_context(modes(learner.models, training=phase.training))
        if phase.training is False:
            stack.enter_context(torch.no_grad())
            position.at_entry = stack.enter_context(preserved_random_state(vars(learner.data).values()))
        try:
            yield
        finally:
            progress.phase, progress.step, position.skipped, position.at_entry, position.at_start = outer
