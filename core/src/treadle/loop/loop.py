"""The loop: what happens in a fit, in which order.

    fit
      FitBegin
      for each phase in turn:
        epoch               an operation: `Phase.epoch`, by default `over_batches`
          EpochBegin        run_epoch
          for each batch:
            step            an operation: `Phase.step`
              StepBegin     run_step
              ...           what the phase does with a batch
              StepEnd
          EpochEnd
      FitEnd

The functions stand in this order, and after them the scopes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import cycle, islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from treadle.errors import (
    ArgumentTypeError,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    FitException,
)
from treadle.events import EpochBegin, EpochEnd, FitBegin, FitEnd, StepBegin, StepEnd
from treadle.loop.batches import batches, data_for, empty_data
from treadle.loop.result import FitResult
from treadle.operations import Epoch, Step
from treadle.state.models import clear_gradients, warn_if_untrained
from treadle.state.modes import modes
from treadle.state.propdict import PropDict
from treadle.state.random_state import preserved_random_state

if TYPE_CHECKING:
    from treadle.dispatch.dispatcher import Handle
    from treadle.learner import Learner
    from treadle.phases import Phase

NO_BATCH: Any = object()


def fit(learner: Learner, n: int, data: PropDict, phases: tuple[Phase, ...]) -> FitResult:
    """Run the phases in turn, `n` times over; see `Learner.fit`, which checks the arguments."""
    progress, position = learner.progress, learner.position
    cancelled: CancelFittingException | None = None
    with fit_scope(learner, n, data, phases):
        epochs, steps = progress.epochs, progress.steps  # of a run that is resumed, those that were done before
        try:
            learner.handle(None)[FitBegin]()
            if n:
                warn_if_untrained(learner.models, learner.optimizers)
            drop_gradients(learner)
            if position.resumption is not None:
                position.resumption.restore()
            for phase in islice(cycle(phases), position.rounds, n * len(phases)):
                epoch(learner, phase)
        except CancelFittingException as cancel:
            cancelled = cancel
        except BaseException as error:
            try:
                learner.handle(None)[FitEnd]()
            except BaseException as another:  # it does not hide the one that ended the fit
                error.add_note(f"After it, a handler of on_fit_end raised {another!r}.")
            raise
        try:
            learner.handle(None)[FitEnd]()
        except CancelFittingException as cancel:
            cancelled = cancelled or cancel  # it is at its end anyway
    return FitResult(progress.epochs - epochs, progress.steps - steps, cancelled)


def epoch(learner: Learner, phase: Phase, data: Any = None) -> None:
    """Run one epoch.

    Args:
        phase: The phase; its `epoch` method says how.
        data: An iterable of batches, which stands in `learner.data` while the epoch runs. Default: the
            learner's data of that phase.

    Raises:
        DataError: if the phase has no data, or there is no batch in it.

    Example:
        >>> from treadle import TrainingPhase, toy_learner
        >>> learner = toy_learner()
        >>> epoch(learner, TrainingPhase())
        >>> learner.progress.steps
        16
    """
    handle, position = learner.handle(phase or no_phase()), learner.position
    rounds = position.rounds + (learner.progress.phase is None)
    with data_for(learner, phase, data) as data:
        try:
            handle[Epoch](data)
        except CancelEpochException:
            pass  # raised by a handler of EpochBegin, before the epoch's own scope could catch it
    position.rounds = rounds  # also if a callback overrides the epoch, or runs others inside of it


def over_batches(learner: Learner, phase: Phase, data: Any) -> None:
    """An epoch as most phases run it: a step for each batch."""
    with run_epoch(learner, phase) as handle:
        run, batch = handle[Step], NO_BATCH
        for batch in batches(learner, phase, data):
            try:
                run(batch)
            except CancelStepException:  # raised by a handler of StepBegin, as in `step`
                continue
        if batch is NO_BATCH and not learner.position.skipped:
            raise empty_data(data, str(phase))


def step(learner: Learner, phase: Phase, batch: Any) -> PropDict:
    """Run one step.

    Args:
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


class run_epoch:
    """The scope of an epoch: `with run_epoch(learner, phase) as handle:`.

    Dispatches `EpochBegin` and `EpochEnd`; `EpochEnd` follows a full epoch and one that was ended
    by `CancelEpochException`, but neither a cancelled fit nor an error. `handle(Event)` dispatches
    an event, `handle(Operation)` does an operation and returns its result.

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
        progress, position = self._learner.progress, self._learner.position
        progress.epoch += bool(self._phase.training and position.resumption is None)  # one that goes on is counted
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
        learner, phase = self._learner, self._phase
        full, cancelled = error is None, isinstance(error, CancelEpochException)
        try:
            if full:
                learner.progress.epochs += bool(phase.training)
            if full or cancelled:
                self._handle[EpochEnd]()
            else:
                note_place(error, learner, phase)
        except CancelEpochException:
            cancelled = True  # by a handler of EpochEnd: it ends anyway
        finally:
            self._scope.__exit__(None, None, None)
        if learner.progress.phase is None and (full or cancelled):
            learner.position.rounds += 1
        return cancelled


class run_step:
    """The scope of a step: `with run_step(learner, phase, xs=xs, ys=ys) as (handle, state):`.

    Makes the step's state, which is `learner.step` from then on, and dispatches `StepBegin` and
    `StepEnd`; a step ended by `CancelStepException` has no `StepEnd`.

    Args:
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
                clear_gradients(learner)
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
        learner, phase = self._learner, self._phase
        try:
            if error is None:
                if phase.training:
                    learner.progress.steps += 1
                self._handle[StepEnd]()
                return False
            drop_gradients(learner)
            note_place(error, learner, phase)
            return isinstance(error, CancelStepException)
        except CancelStepException:  # by a handler of StepEnd: it ends anyway
            return True
        finally:
            if self._scope is not None:
                self._scope.__exit__(None, None, None)


@contextmanager
def fit_scope(learner: Learner, n: int, data: PropDict, phases: tuple[Phase, ...]) -> Iterator[None]:
    """Say in the learner what is run and over which data, and put back what was there before."""
    position = learner.position
    outer = position.n, position.phases, position.rounds, learner.data
    if position.resumption is not None:
        position.resumption.begin(n, phases)
    else:
        position.rounds = 0
    try:
        position.n, position.phases, learner.data = n, phases, data
        yield
    except FitException as cancel:
        unit = "step" if isinstance(cancel, CancelStepException) else "epoch"
        cancel.add_note(
            f"{type(cancel).__name__} was raised where no {unit} was under way.\n"
            f"Fix: to end the fit, raise CancelFittingException."
        )
        raise
    finally:
        position.n, position.phases, position.rounds, learner.data = outer


@contextmanager
def phase_scope(learner: Learner, phase: Phase) -> Iterator[None]:
    """Make the learner's models ready for a phase, and put back what was there before.

    A training phase wants models in training mode, a validation phase in eval mode, without
    gradients and without a trace in the random generators; see `Phase.training`.
    """
    progress, position = learner.progress, learner.position
    outer = progress.phase, progress.step, position.skipped, position.at_entry, position.at_start
    try:
        progress.phase, position.skipped = phase, 0
        position.at_entry = position.at_start = None
        with ExitStack() as stack:
            if phase.training is not None:
                stack.enter_context(modes(learner.models, training=phase.training))
            if phase.training is False:
                stack.enter_context(torch.no_grad())
                position.at_entry = stack.enter_context(preserved_random_state(vars(learner.data).values()))
            yield
    finally:
        progress.phase, progress.step, position.skipped, position.at_entry, position.at_start = outer


def drop_gradients(learner: Learner) -> None:
    """Let the next step begin without the gradients of the batches so far."""
    learner.position.clear_gradients, learner.progress.accumulated = True, 0


def no_phase() -> NoReturn:
    """Refuse None, which stands for what happens outside of all phases."""
    raise ArgumentTypeError("The phase must be an instance of Phase, got None.\nFix: pass one:\n    TrainingPhase()")


def note_place(error: BaseException | None, learner: Learner, phase: Phase) -> None:
    """Note on an error where the learner was, unless that is noted already."""
    if error is None or isinstance(error, FitException):
        return
    if not any(note.startswith("Raised ") for note in getattr(error, "__notes__", ())):
        progress = learner.progress
        error.add_note(f"Raised in {type(phase).__name__}, epoch {progress.epoch}, step {progress.step}.")
