"""The loop: what happens in a fit, in which order.

    fit
      FitBegin
      for each phase in turn:   as `Length` says
        epoch               an operation: `Phase.epoch`, by default `over_batches`
          EpochBegin        run_epoch
          for each batch:
            step            an operation: `Phase.step`
              StepBegin     run_step
              ...           what the phase does with a batch
              StepEnd
            validation      an epoch inside of this one, where it is due in a fit by steps
          EpochEnd
      FitEnd

The functions stand in this order, and after them what dispatches begin and end: `run_epoch`, `run_step`, `fit_end`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeGuard

from treadle.arguments import not_a_learner
from treadle.errors import (
    ArgumentTypeError,
    CallbackError,
    CancelEpochException,
    CancelError,
    CancelFittingException,
    CancelStepException,
    CancelUpdateException,
    FitException,
)
from treadle.events import EpochBegin, EpochEnd, FitBegin, FitEnd, StepBegin, StepEnd
from treadle.loop.data.batches import batches, data_for, empty_data, length_of
from treadle.loop.data.processes import Part, merge
from treadle.loop.length import Length
from treadle.loop.progress import FitResult
from treadle.loop.scope import Scope, enter, entered, keep_outer, open_fit, open_operation, open_phase, unwind
from treadle.loop.update.run_update import complete_unfinished
from treadle.operations import Epoch, Step
from treadle.state.models import warn_if_untrained
from treadle.state.propdict import PropDict, by_unique_name

if TYPE_CHECKING:
    from treadle.dispatch.dispatcher import Handle
    from treadle.learner import Learner
    from treadle.phases import Phase

NO_BATCH: Any = object()


def fit(learner: Learner, length: Length, data: PropDict) -> FitResult:
    """Run what the length of the fit says; see `Learner.fit`, which checks the arguments."""
    progress, position = learner.progress, learner.position
    with entered(learner), entered(learner):
        open_fit(learner, length, data)
        epochs, steps = progress.epochs, progress.steps  # of a run that is resumed, those that were done before
        length.until_trained = functools.partial(until_trained, learner, length)
        end = fit_end(learner)
        with end, end:
            end.dispatch_begin()
            if not length.nothing:
                warn_if_untrained(learner.models, learner.optimizers)
            position.updates.drop_all(learner)
            if position.resumption is not None:
                position.resumption.restore()
            rounds = position.rounds
            while (phase := length.next_phase(length.counts(rounds), progress.steps)) is not None:
                epoch_of_fit(learner, length, phase)
                rounds += 1
        observers = position.observer_errors
    observers.warn_of_counts()
    return FitResult(progress.epochs - epochs, progress.steps - steps, end.cancelled, observers.sorted())


def epoch_of_fit(learner: Learner, length: Length, phase: Phase) -> None:
    """Run an epoch that is one of the fit's own."""
    if not length.by_steps:
        epoch(learner, phase)
        return
    resumed = learner.position.resumption is not None  # perhaps after its last batch
    progress, before = learner.progress, learner.progress.steps
    length.by_batches = length.in_epoch = False
    run_phase(learner, phase, own=length)
    if phase.training and length.steps is not None and progress.steps == before and not resumed:
        raise no_steps(phase, length.steps)
    if phase.training and progress.steps > before and not length.by_batches:
        raise by_itself(phase)


def validate(learner: Learner, length: Length) -> None:
    """Run the validation that is due inside of an epoch of training."""
    position, steps = learner.position, learner.progress.steps
    length.skip_missed(steps)
    while (phase := length.due(length.counts(position.rounds), steps)) is not None:
        run_phase(learner, phase, own=length)


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
    run_phase(learner, phase, data)


def run_phase(learner: Learner, phase: Phase, data: Any = None, own: Length | None = None) -> None:
    """Run one epoch.

    Args:
        own: The length of the fit that goes by steps, if the epoch is one that it runs by itself. Default: it is not.
    """
    handle, position = handle_of(learner, phase), learner.position
    with entered(learner), entered(learner):
        scope = open_operation(learner, phase)
        scope.set(position, own=own)
        counts = None if own is None else own.counts(position.rounds)
        rounds = position.rounds + (not scope.nested)
        data = data_for(learner, phase, data, scope)
        try:
            handle[Epoch](data)
        except CancelEpochException as cancel:  # raised by a handler of EpochBegin, before the epoch's own scope could
            handle.agreement.settle(cancel)
        position.rounds = rounds  # also if a callback overrides the epoch, or runs others inside of it
        if own is not None and counts is not None:
            _, own.passes, own.validations = counts.after(phase, own.counts(rounds))


def over_batches(learner: Learner, phase: Phase, data: Any) -> None:
    """An epoch as most phases run it: a step for each batch."""
    with run_epoch(learner, phase) as handle:
        run, batch = handle[Step], NO_BATCH
        for batch in batches(learner, phase, data):
            try:
                run(batch)
            except CancelStepException as cancel:  # raised by a handler of StepBegin, as in `step`
                handle.agreement.settle(cancel)
                continue
        alone = phase.training or learner.position.processes.size == 1  # else the others may have all batches
        if batch is NO_BATCH and not learner.position.skipped and alone:
            raise empty_data(data, str(phase))


def until_trained(learner: Learner, length: Length, phase: Phase, data: Any, rest: Iterator[Any]) -> Iterator[Any]:
    """The batches of a pass, until a fit by steps has all its steps; before each the validation that is due."""
    position, taken = learner.position, learner.position.skipped
    known = length_of(position.processes.share(learner, phase, data))
    length.by_batches = True
    while True:
        if length.is_trained(length.counts(position.rounds), learner.progress.steps):
            position.partial = taken != known
            return
        validate(learner, length)
        batch = next(rest, NO_BATCH)
        if batch is NO_BATCH:
            return
        taken += 1
        yield batch


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
        ['accumulating', 'grads', 'loss', 'xs', 'yhats', 'ys']
    """
    run = handle_of(learner, phase)[Step]
    with entered(learner), entered(learner):
        if learner.position.stepping or not equal(learner.progress.phase, phase):  # not one of the epoch under way
            open_operation(learner, phase)
        try:
            run(batch)
        except CancelStepException as cancel:  # raised by a handler of StepBegin, before the step's own scope could
            learner.handle(phase).agreement.settle(cancel)
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

    __slots__ = ("__weakref__", "_depth", "_handle", "_learner", "_nested", "_own", "_phase")

    def __init__(self, learner: Learner, phase: Phase) -> None:
        self._learner, self._phase = learner, phase

    def __enter__(self) -> Handle:
        learner, phase = self._learner, self._phase
        self._handle = handle = handle_of(learner, phase)
        self._depth, self._nested, self._own = enter(learner, self), True, None
        handle.agreement.begin()
        try:
            self._nested, self._own = open_phase(learner, phase, self).nested, learner.position.own
            # The epoch that a resumed run goes on with is counted already.
            learner.progress.epoch += bool(phase.training and learner.position.resumption is None)
            handle[EpochBegin]()
            handle.agreement.reach("epoch begin")
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            handle.agreement.settled(error)
            raise
        return handle

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            if error is not None:
                return self._end(error)
            error = self._handle.agreement.outcome("epoch over")
            if not self._end(error) and error is not None:
                raise error
            return False
        except BaseException as raised:
            self._handle.agreement.settle(raised)
            raise

    def _end(self, error: BaseException | None) -> bool:
        learner, phase, agreement = self._learner, self._phase, self._handle.agreement
        ended = error is None or isinstance(error, CancelEpochException)
        try:
            if isinstance(error, PARTS):
                raise not_under_way(error) from error
            if error is not None:
                agreement.settle(error)
            elif learner.position.updates.unfinished and phase.training:
                try:
                    complete_unfinished(learner, phase, self._handle)
                except CancelEpochException as cancel:
                    agreement.settle(cancel)
                    error = cancel
            if not ended:
                note_place(error, learner, phase)
                return False
            if error is None:
                learner.progress.epochs += bool(phase.training) and not learner.position.partial
            elif phase.training:
                learner.position.updates.drop_all(learner)
            if (processes := learner.position.processes).size > 1:
                processes.end(learner, phase)
                merge(processes, parts_of(learner, phase))
            try:
                self._handle[EpochEnd]()
            except CancelEpochException as cancel:  # by a handler of EpochEnd: it ends anyway
                error = cancel
            agreement.reach("epoch end")
            return error is not None
        except PARTS as cancel:
            raise not_under_way(cancel) from cancel
        except BaseException as raised:
            ended = isinstance(raised, FitException)
            raise
        finally:
            unwind(learner, self._depth)
            learner.position.rounds += ended and not self._nested
            if ended and self._own is not None:
                self._own.count(phase)


def parts_of(learner: Learner, phase: Phase) -> Iterator[Part]:
    """What the callbacks have added up in the epoch that ends, in an order that is the same in all processes."""
    for _, callback in sorted(by_unique_name(learner.callbacks).items()):
        if phase.observed and not callback.main_process_only:
            yield from callback.added_up(learner, phase)


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

    __slots__ = ("__weakref__", "_depth", "_handle", "_learner", "_phase", "_state")

    def __init__(self, learner: Learner, phase: Phase, /, **initial: Any) -> None:
        self._learner, self._phase = learner, phase
        self._state = state = PropDict.__new__(PropDict)
        state.__dict__ = initial
        self._depth: int | None = None

    def __enter__(self) -> tuple[Handle, PropDict]:
        learner, phase = self._learner, self._phase
        try:
            handle = learner.current
        except AttributeError:
            raise not_a_learner(learner) from None
        if handle.phase is not phase or phase is None:
            handle = handle_of(learner, phase)
        self._handle = handle
        progress, position = learner.progress, learner.position
        if position.stepping or progress.phase is not phase:
            self._open()
        position.stepping = True
        progress.step += 1
        learner.__dict__["step"] = self._state  # which needs no check, and this is every step
        if phase.training:
            position.updates.begin_step(learner)
        agreement = handle.agreement
        agreement.begin()
        try:
            handle[StepBegin]()
            agreement.reach("forward")
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            agreement.settled(error)
            raise
        return handle, self._state

    def _open(self) -> None:
        """Open a scope, unless it is a step of the epoch that is under way."""
        learner, phase = self._learner, self._phase
        if not learner.position.stepping and equal(learner.progress.phase, phase):
            return
        self._depth = enter(learner, self)
        try:
            open_phase(learner, phase, self, step=True)
        except BaseException:
            unwind(learner, self._depth)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        learner, phase = self._learner, self._phase
        try:
            if error is not None:
                return failed_step(learner, phase, error)
            error = self._handle.agreement.outcome("step end")
            if error is None:
                end_step(learner, phase, self._handle)
            elif not failed_step(learner, phase, error):
                raise error
            return False
        finally:
            learner.position.stepping = False
            if self._depth is not None:
                unwind(learner, self._depth)


def end_step(learner: Learner, phase: Phase, handle: Handle) -> None:
    """Count a step that was done, and dispatch its end."""
    if phase.training:
        learner.progress.steps += 1
    try:
        handle[StepEnd]()
    except CancelStepException:
        pass  # it ends anyway
    except CancelUpdateException as cancel:
        raise not_under_way(cancel) from cancel


def failed_step(learner: Learner, phase: Phase, error: BaseException) -> bool:
    """Drop what a step has begun that was cancelled or failed; returns whether it was cancelled, and nothing else."""
    if phase.training:
        learner.position.updates.end_step(learner)
    if isinstance(error, CancelUpdateException):
        raise not_under_way(error) from error
    learner.handle(phase).agreement.settle(error)
    note_place(error, learner, phase)
    return isinstance(error, CancelStepException)


class fit_end:
    """`with end, end:` dispatches `FitEnd` once, in whatever way the fit ends; in two places, as `entered`.

    Attributes:
        cancelled: What ended the fit early, or None.
    """

    __slots__ = ("cancelled", "depth", "learner", "pending")

    def __init__(self, learner: Learner) -> None:
        self.learner, self.depth = learner, len(learner.position.scopes)
        self.pending: list[Callable[[], None]] = []
        self.cancelled: CancelFittingException | None = None

    def dispatch_begin(self) -> None:
        """Dispatch `FitBegin`; from then on `FitEnd` is due."""
        self.pending.append(functools.partial(dispatch_alone, self.learner, FitEnd))
        agreement = self.learner.handle(None).agreement
        agreement.begin()
        dispatch_alone(self.learner, FitBegin)
        agreement.reach("epoch")

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        unwind(self.learner, self.depth)
        raised, agreement = error, self.learner.handle(None).agreement
        if error is not None and self.pending:
            error = agreement.effect(not_under_way(error) if is_of_part(error) else error)
        if isinstance(error, CancelFittingException):
            self.cancelled = error
        try:
            while self.pending:
                self.pending.pop()()
                if error is None or isinstance(error, FitException):
                    agreement.reach("fit end")
        except BaseException as another:
            if error is not None and not isinstance(error, FitException):
                if not isinstance(another, CancelFittingException):  # which does not hide it
                    error.add_note(f"After it, a handler of on_fit_end raised {another!r}.")
            elif is_of_part(another):
                refused = not_under_way(another)
                agreement.settle(refused)
                raise refused from another
            else:
                agreement.settle(another)
                if not isinstance(another, CancelFittingException):
                    raise
                self.cancelled = self.cancelled or another  # it is at its end anyway
        if error is not raised and error is not None and error is not self.cancelled:
            raise error from raised
        return isinstance(error, CancelFittingException)


def is_of_part(error: BaseException) -> TypeGuard[FitException]:
    """Whether it is a cancel of a part of a fit."""
    return isinstance(error, FitException) and not isinstance(error, CancelFittingException)


def dispatch_alone(learner: Learner, event: type[FitBegin] | type[FitEnd]) -> None:
    """Dispatch the begin or end of a fit; an epoch that a handler runs there is not one of the fit's own."""
    depth = len(learner.position.scopes)
    keep_outer(Scope(learner), learner)
    learner.handle(None)[event]()
    unwind(learner, depth)


def equal(first: object, second: object) -> bool:
    """Whether two phases are one, or equal; those whose fields cannot be compared, as tensors cannot, are not."""
    try:
        return first is second or bool(first == second)
    except Exception:
        return False


#: What ends a part of an epoch.
PARTS = (CancelStepException, CancelUpdateException)


def not_under_way(cancel: FitException, unit: str | None = None) -> CancelError:
    """The error for a cancel that went past everything that it could have ended; or for any, where no `unit` is."""
    units = {CancelUpdateException: "update", CancelStepException: "step", CancelEpochException: "epoch"}
    unit = unit or next((unit for kind, unit in units.items() if isinstance(cancel, kind)), "fit")
    fix = "raise it in a handler of on_fit_begin." if unit == "fit" else "to end the fit, raise CancelFittingException."
    error = CancelError(
        f"{type(cancel).__name__} was raised where no {unit} was under way"
        f"{f': {cancel}' if str(cancel) else ''}.\nFix: {fix}"
    )
    for note in getattr(cancel, "__notes__", ()):  # who raised it
        error.add_note(note)
    return error


def no_steps(phase: Phase, steps: int) -> CallbackError:
    """The error for a fit by steps that would go on for ever."""
    return CallbackError(
        f"An epoch of {phase} ended without a training step, and fit(steps={steps}) goes on until there are so many: a "
        f"step or an epoch that is cancelled does not count.\n"
        f"Fix: look for the callback that cancels, or the phase that runs no steps; or let a callback end the fit:\n"
        f'    raise CancelFittingException("...")'
    )


def by_itself(phase: Phase) -> CallbackError:
    """The error for a phase that a fit by steps cannot stop, nor validate in."""
    return CallbackError(
        f"fit by steps cannot end, nor validate, in the middle of an epoch of {phase}: the phase, or a callback that "
        f"overrides the epoch, goes over the data by itself.\n"
        f"Fix: let it go over its data with treadle.authoring.batches:\n"
        f"    for batch in batches(learner, self, data): ..."
    )


def handle_of(learner: Learner, phase: Phase) -> Handle:
    """What a learner calls in a phase.

    Raises:
        ArgumentTypeError: if it is not a learner, or None, which stands for what happens outside of all phases, is
            passed as the phase.
    """
    if phase is None:
        raise ArgumentTypeError(
            "The phase must be an instance of Phase, got None.\nFix: pass one:\n    TrainingPhase()"
        )
    try:
        handle = learner.handle
    except AttributeError:
        handle = None
    if handle is None or isinstance(learner, type):
        raise not_a_learner(learner)
    return handle(phase)


def note_place(error: BaseException | None, learner: Learner, phase: Phase) -> None:
    """Note on an error where the learner was, unless that is noted already."""
    if error is None or isinstance(error, FitException):
        return
    if not any(note.startswith("Raised ") for note in getattr(error, "__notes__", ())):
        progress = learner.progress
        error.add_note(f"Raised in {type(phase).__name__}, epoch {progress.epoch}, step {progress.step}.")
