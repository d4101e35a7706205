"""`Learner`: the state of a training, its callbacks, and `fit`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle, islice
from operator import index
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from treadle.callback import Callback, unwrap
from treadle.dispatch.dispatcher import Dispatcher, Handle
from treadle.dispatch.runners import CallbackRunner, LinearRunner
from treadle.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    CallbackError,
    CancelFittingException,
    CancelStepException,
    FitException,
)
from treadle.events import FitBegin, FitEnd, Init
from treadle.loop.batches import as_data
from treadle.loop.loop import epoch
from treadle.loop.position import Position
from treadle.loop.progress import Progress
from treadle.loop.result import FitResult
from treadle.ordering.conflicts import Resolver
from treadle.ordering.graph import Ordering
from treadle.ordering.plan import Plan
from treadle.phases import Phase, TrainingPhase, ValidationPhase, as_phases, check_phase
from treadle.plugins.modules import modules_for, resolver
from treadle.plugins.selection import as_callbacks, check_callback_instance
from treadle.state.gradients import Gradients
from treadle.state.models import as_model, as_optimizer, models_of, optimizers_of, parameters_of, warn_of_strangers
from treadle.state.propdict import PropDict

if TYPE_CHECKING:
    from collections.abc import Sequence


class Learner:
    """Holds the state of a training and coordinates it.

    Args:
        model: A module, or a mapping of modules by name.
        lossfn: Compares the model's output with the targets: `lossfn(model(xs), ys)` is a tensor
            with one element.
        data: Iterables of batches: `()`, `(training,)`, `(training, validation)` or a mapping of
            names to iterables. A batch is a pair `(xs, ys)`; `xs` is a tensor, a tuple of positional
            inputs, or a mapping of named inputs. Default: none.
        optimizer: An optimizer, or a function that makes one of the parameters; with several models
            a mapping of these is possible. Default: Adam.
        callbacks: Callbacks, in any order; also names of installed ones. Default: none.
        use_default_callbacks: Whether `Recorder`, `Metrics`, `MetricsPrinter`, `ProgressPrinter` and
            `StopOnNaNLoss` join, where they are installed and none of their class is given.
        runner: How the handlers of an event are run. Default: `LinearRunner()`.

    Attributes:
        model: The module, or a `PropDict` of modules.
        optimizer: The optimizer, or a `PropDict` of optimizers.
        lossfn: The loss function.
        data: A `PropDict` of the iterables, usually `training` and `validation`.
        params: A `PropDict` of the parameters by name; for several models one for each.
        step: A `PropDict`, the state of the last step; what is in it depends on the phase.
        callbacks: The callbacks, in the order given.
        cbstate: A `PropDict` in which callbacks keep state for other callbacks.

    Raises:
        CallbackConflictError: if the callbacks cannot be brought into one order, with every reason.
        ArgumentTypeError, ArgumentValueError, DataError, CallbackError, AccessError: if an argument
            cannot be used.

    Example:
        >>> import torch
        >>> xs = torch.linspace(-1, 1, 32).reshape(-1, 1)
        >>> data = [(xs, 2 * xs)] * 20
        >>> learner = Learner(torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, data=(data,),
        ...                   use_default_callbacks=False)
        >>> learner.fit(5)
        FitResult(epochs=5, steps=100, cancelled=None)
    """

    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        lossfn: Callable[..., torch.Tensor],
        *,
        data: Any = (),
        optimizer: Any = torch.optim.Adam,
        callbacks: Iterable[Callback | str] = (),
        use_default_callbacks: bool = True,
        runner: CallbackRunner | None = None,
    ) -> None:
        if not callable(lossfn) or isinstance(lossfn, type):
            mend = f"{lossfn.__name__}()" if isinstance(lossfn, type) else "torch.nn.functional.mse_loss"
            raise ArgumentTypeError(
                f"The loss function takes outputs and targets, got {lossfn!r}. Pass, for example, {mend}"
            )
        if not isinstance(use_default_callbacks, bool):
            raise ArgumentTypeError(
                f"use_default_callbacks is True or False, got {use_default_callbacks!r}: use_default_callbacks=False"
            )
        if runner is not None and not isinstance(runner, CallbackRunner):
            raise ArgumentTypeError(f"The runner is a CallbackRunner, got {runner!r}: runner=LinearRunner()")
        self.lossfn = lossfn
        self.data = as_data(data)
        self.step = PropDict()
        self.cbstate = PropDict()
        self.progress = Progress()
        self.position = Position()
        self.runner = runner or LinearRunner()
        self.model = as_model(model)
        self.optimizer = as_optimizer(optimizer, self.model)
        self.current: Handle
        self._callbacks: tuple[Callback, ...] = ()
        self._modules: list[str] = []
        self._use(*as_callbacks(callbacks, use_default_callbacks=use_default_callbacks))

    # The state.

    @property
    def model(self) -> Any:
        """The module, or a `PropDict` of modules. Setting it sets `params` as well."""
        return self._model

    @model.setter
    def model(self, model: Any) -> None:
        self._model = as_model(model)
        self._unheld: list[torch.Tensor] | None = None
        self.models = models_of(self._model)
        self.params = parameters_of(self._model)
        self.grads = Gradients(self.params)

    @property
    def optimizer(self) -> Any:
        """The optimizer, or a `PropDict` of optimizers by the name of their model."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Any) -> None:
        self._optimizer = as_optimizer(optimizer, self._model)
        self.optimizers = optimizers_of(self._optimizer)
        self._unheld = None

    @property
    def callbacks(self) -> tuple[Callback, ...]:
        """The callbacks, in the order given; `plan()` tells in which order they run."""
        return self._callbacks

    def clear_gradients(self) -> None:
        """Clear the gradients of all parameters, those of the models and those that an optimizer holds."""
        if self._unheld is None:
            held = {
                id(each)
                for optimizer in self.optimizers
                for group in optimizer.param_groups
                for each in group["params"]
            }
            self._unheld = [each for model in self.models for each in model.parameters() if id(each) not in held]
        for parameter in self._unheld:
            parameter.grad = None
        for optimizer in self.optimizers:
            if type(optimizer).zero_grad is torch.optim.Optimizer.zero_grad:  # the same, for a tenth of its cost
                for group in optimizer.param_groups:
                    for parameter in group["params"]:
                        parameter.grad = None
            else:
                optimizer.zero_grad()

    # Training.

    def fit(self, n: int, data: Any = None, *, phases: Iterable[Phase] | None = None) -> FitResult:
        """Train for `n` epochs, each followed by an epoch of validation if there are data for it.

        Args:
            n: The number of epochs; 0 or more.
            data: `(training,)`, `(training, validation)` or a mapping, used instead of the
                learner's own while this fit runs. Default: the learner's own.
            phases: What is run in turn, `n` times over. Default: `TrainingPhase()` and, if there are
                data for it, `ValidationPhase()`.

        Returns:
            What was done, and by whom it was cancelled if it was.

        Raises:
            ArgumentTypeError, ArgumentValueError: if `n` is no number of epochs, or `phases` are none.
            DataError: if there are no data for a phase.

        Example:
            >>> from treadle import toy_learner
            >>> toy_learner().fit(2)
            FitResult(epochs=2, steps=32, cancelled=None)
        """
        if isinstance(n, bool) or not hasattr(n, "__index__"):  # NumPy's have it, too
            raise ArgumentTypeError(f"The number of epochs is a whole number, got {n!r}: learner.fit(10)")
        n = index(n)
        if n < 0:
            raise ArgumentValueError(f"The number of epochs is 0 or more, got {n}: learner.fit(10)")
        before = self.data
        given = before if data is None else as_data(data)
        usual = (TrainingPhase(), ValidationPhase()) if "validation" in given else (TrainingPhase(),)
        in_turn = usual if phases is None else as_phases(phases)
        progress, position = self.progress, self.position
        outer = position.n, position.phases, position.rounds
        if position.resumption is not None:
            position.resumption.begin(n, in_turn)
        else:
            position.rounds = 0
        position.n, position.phases = n, in_turn
        epochs, steps = progress.epochs, progress.steps
        cancelled = None
        self.data = given
        try:
            try:
                self.handle(None)[FitBegin]()
                self._epochs(n, in_turn)
            except CancelFittingException as cancel:
                cancelled = cancel
            except BaseException as error:
                if isinstance(error, FitException):
                    error.add_note(misplaced(error))
                self._end(error)
                raise
            try:
                self._end(None)
            except CancelFittingException as cancel:
                cancelled = cancelled or cancel  # it is at its end anyway
            except FitException as cancel:
                cancel.add_note(misplaced(cancel))
                raise
        finally:
            self.data = before
            position.n, position.phases, position.rounds = outer
        return FitResult(progress.epochs - epochs, progress.steps - steps, cancelled)

    def _epochs(self, n: int, phases: tuple[Phase, ...]) -> None:
        if n:
            warn_of_strangers(self.models, self.optimizers)
        self.position.clear_gradients, self.progress.accumulated = True, 0
        if self.position.resumption is not None:
            self.position.resumption.restore()
        for phase in islice(cycle(phases), self.position.rounds, n * len(phases)):
            epoch(self, phase)

    def _end(self, error: BaseException | None) -> None:
        """Dispatch `FitEnd`; an error that it makes does not hide the one that ended the fit."""
        try:
            self.handle(None)[FitEnd]()
        except BaseException as another:
            if error is None:
                raise
            error.add_note(f"After it, a handler of on_fit_end raised {another!r}.")

    def handle(self, phase: Phase | None) -> Handle:
        """What is called in a phase, by event or operation: `learner.handle(phase)(StepBegin)`.

        Args:
            phase: The phase, or None for what happens outside of all phases.
        """
        if self.current.phase is not phase:
            if phase is not None:
                check_phase(phase)
            self.current = self._dispatcher.handle(phase)
        return self.current

    # The callbacks.

    def plan(self, phases: Iterable[Phase] | None = None) -> Plan:
        """What will run: for each phase and event the callbacks in their order, and each edge's reason.

        Args:
            phases: The phases to show. Default: `TrainingPhase()`, `ValidationPhase()`, and those that a
                handler names.

        Example:
            >>> from treadle import toy_learner
            >>> print(toy_learner().plan())
            No callbacks: nothing runs beside the loop itself.
        """
        shown = None if phases is None else tuple(type(phase) for phase in as_phases(phases))
        return Plan(self.ordering, shown)

    def set_callbacks(self, callbacks: Iterable[Callback | str]) -> None:
        """Use these callbacks instead of the present ones. If they are refused, nothing changes.

        Raises:
            CallbackConflictError: if they cannot be brought into one order.
            CallbackError: if one of them is no callback.
        """
        self._use(*as_callbacks(callbacks))

    def add_callback(self, callback: Callback | str) -> None:
        """Use one more callback. If it is refused, nothing changes."""
        added, modules = as_callbacks([*self._callbacks, callback])
        self._use(added, [*self._modules, *modules])

    def get_callback(self, cls: type[Callback]) -> Callback | None:
        """The first callback of a class, or None.

        A callback inside of `throttle` counts as what it is; what is returned is the one in use.

        Example:
            >>> from treadle import CustomCallback, StepEnd, toy_learner
            >>> hello = CustomCallback(print, StepEnd)
            >>> toy_learner(hello).get_callback(CustomCallback) is hello
            True
        """
        if not (isinstance(cls, type) and issubclass(cls, Callback)):
            raise CallbackError(f"A class of callbacks is needed, got {cls!r}: learner.get_callback(Recorder)")
        return next((callback for callback in self._callbacks if isinstance(unwrap(callback), cls)), None)

    def replace_callback(self, callback: Callback) -> Callback | None:
        """Use a callback instead of the one of its class, which is returned; or, without one, add it."""
        check_callback_instance(callback)
        old = self.get_callback(type(unwrap(callback)))
        if old is None:
            self.add_callback(callback)
        elif old is not callback:
            replaced, _ = as_callbacks([callback if each is old else each for each in self._callbacks])
            self._use(replaced, self._modules)
        return old

    def remove_callback(self, cls: type[Callback]) -> Callback | None:
        """Remove the first callback of a class and return it, or None. If that is refused, nothing changes."""
        old = self.get_callback(cls)
        if old is not None:
            self._use([each for each in self._callbacks if each is not old], self._modules)
        return old

    def _use(self, callbacks: Sequence[Callback], modules: list[str]) -> None:
        """Work out everything for a set of callbacks, or leave everything as it is."""
        callbacks = tuple(callbacks)
        resolve = resolver(modules_for(callbacks, modules))
        before = dict(vars(self)), dict(vars(self.cbstate))
        try:
            self._callbacks, self._modules = callbacks, modules
            self._compile(resolve)
            self.current[Init]()
        except BaseException:
            vars(self).clear()
            vars(self).update(before[0])
            vars(self.cbstate).clear()
            vars(self.cbstate).update(before[1])
            raise

    def _compile(self, resolve: Resolver) -> None:
        self.ordering = Ordering(self._callbacks, resolve)
        self._dispatcher = Dispatcher(self, self._callbacks)
        self.current = self._dispatcher.handle(None)

    def __getstate__(self) -> dict[str, Any]:
        """All but what was compiled, which would go on calling the callbacks of the learner copied."""
        compiled = ("ordering", "_dispatcher", "current")
        return {name: value for name, value in vars(self).items() if name not in compiled}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._compile(resolver(modules_for(self._callbacks, self._modules)))

    def __repr__(self) -> str:
        names = ", ".join(callback.name for callback in self._callbacks) or "none"
        return f"Learner({', '.join(type(model).__name__ for model in self.models)}; callbacks: {names})"


def misplaced(cancel: FitException) -> str:
    """A note for a cancel that found nothing to end."""
    kind = type(cancel).__name__
    scope = "a step" if isinstance(cancel, CancelStepException) else "an epoch"
    return f"A {kind} ends {scope}, and none was under way. To end the fit, raise CancelFittingException."


def fit(learner: Learner, n: int, data: Any = None, *, phases: Iterable[Phase] | None = None) -> FitResult:
    """`learner.fit(n, data, phases=phases)`, as a function.

    Example:
        >>> from treadle import toy_learner
        >>> fit(toy_learner(), 1).steps
        16
    """
    return learner.fit(n, data, phases=phases)
