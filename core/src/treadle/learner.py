"""`Learner`: what a training is made of. The loop itself stands in `treadle.loop.loop`."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from treadle.arguments import SHORT, instance_of, not_a_learner, one_of, whole_number
from treadle.callback import Callback, unwrap
from treadle.dispatch.call import RAISE, WARN
from treadle.dispatch.dispatcher import Dispatcher, Handle
from treadle.dispatch.runners import CallbackRunner, LinearRunner
from treadle.errors import ArgumentTypeError, CallbackError, DataError, FitException, closest
from treadle.events import Init
from treadle.loop import loop
from treadle.loop.data.batches import as_data, check_data
from treadle.loop.data.nested_batch import map_tensors
from treadle.loop.data.processes import ALONE, merge
from treadle.loop.data.split import as_split
from treadle.loop.evaluation.first_batches import FirstBatches
from treadle.loop.evaluation.one_batch import refuse_one_batch
from treadle.loop.evaluation.outputs import Outputs
from treadle.loop.evaluation.without_trace import run_without_trace
from treadle.loop.inner.inner_loop import InnerLoop
from treadle.loop.length import checked_length
from treadle.loop.position import Position
from treadle.loop.progress import FitResult, Progress
from treadle.operations import name_of
from treadle.ordering.graph import Ordering
from treadle.ordering.plan import Plan
from treadle.ordering.rules.user_resolutions import Resolve, checked_resolve
from treadle.phases import (
    EvaluationPhase,
    Phase,
    PredictionPhase,
    TrainingPhase,
    ValidationPhase,
    as_phases,
    check_phase,
)
from treadle.plugins import membership
from treadle.plugins.measures import measure_of
from treadle.plugins.modules import modules_for, resolver
from treadle.plugins.selection import ALIKE, as_callbacks, check_callback_instance, report_slips
from treadle.state.gradients import Gradients
from treadle.state.models import (
    as_lossfn,
    as_model,
    as_optimizer,
    models_of,
    optimizers_of,
    parameters_of,
    refuse_nothing_to_train,
)
from treadle.state.propdict import PropDict
from treadle.state.run.model_state import unset_buffers


class Learner:
    """Holds the state of a training and coordinates it.

    Args:
        model: A module, or a mapping of modules by name.
        lossfn: Compares the model's output with the targets: `lossfn(model(xs), ys)` is a tensor
            with one element. None: the model's output carries the loss, `output.loss` or `output["loss"]`.
        data: Iterables of batches: `()`, `(training,)`, `(training, validation)` or a mapping of
            names to iterables. A batch is a pair `(xs, ys)`; `xs` is a tensor, a tuple of positional
            inputs, or a mapping of named inputs. With `lossfn=None`, a batch that is a mapping is all inputs.
            Default: none.
        optimizer: An optimizer, or a function that makes one of the parameters; with several models
            a mapping of these is possible. Default: Adam.
        callbacks: Callbacks, in any order; also names of installed ones. Default: none.
        use_default_callbacks: Whether `Recorder`, `Metrics`, `MetricsPrinter`, `ProgressPrinter` and
            `StopOnNaNLoss` join, where they are installed and none of their class is passed; or the names of those
            that join: `("recorder", "metrics")`.
        runner: How the handlers of an event are run. Default: `LinearRunner()`.
        split: A function from what the data yield to a pair `(xs, ys)`, where they yield something else. Default: none.
        resolve: The user's own answer for pairs in conflict, stronger than all others but `Unresolvable()`: a
            mapping of pairs of names to `"first"`, `"second"` (which of them runs first) or `"any"`, or a function
            of two callbacks that returns what `resolve_conflict` returns, or None where it has no opinion.
            It is kept when the callbacks change. Default: none.
        observer_errors: What happens to an error of a callback that only watches: "raise" ends the fit, with "warn" it
            is reported and the fit goes on. `plan().observers` are these callbacks. Default: "raise".

    Attributes:
        model: The module, or a `PropDict` of modules.
        optimizer: The optimizer, or a `PropDict` of optimizers.
        lossfn: The loss function, or None.
        split: The function that splits batches, or None.
        data: A `PropDict` of the iterables, usually `training` and `validation`.
        params: A `PropDict` of the parameters by name; for several models one for each.
        step: A `PropDict`, the state of the last step; what is in it depends on the phase.
        callbacks: The callbacks, in the order given.
        cbstate: A `PropDict` in which callbacks keep state for other callbacks.
        observer_errors: What happens to errors of callbacks that only watch.
        progress: How far the training has come, a `Progress`.

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

    current: Handle
    runner: CallbackRunner
    observer_errors: Literal["raise", "warn"]
    params: PropDict
    progress: Progress
    position: Position
    loop: InnerLoop
    models: list[nn.Module]
    optimizers: list[torch.optim.Optimizer]
    grads: Gradients
    applied: Any
    _phases: tuple[Phase, ...]

    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        lossfn: Callable[..., torch.Tensor] | None,
        *,
        data: Any = (),
        optimizer: Any = torch.optim.Adam,
        callbacks: Iterable[Callback | str] = (),
        use_default_callbacks: bool | Iterable[str] = True,
        runner: CallbackRunner | None = None,
        split: Callable[[Any], tuple[Any, Any]] | None = None,
        resolve: Resolve = None,
        observer_errors: Literal["raise", "warn"] = "raise",
    ) -> None:
        runner = LinearRunner() if runner is None else runner
        instance_of(runner, "runner", CallbackRunner, "Learner(..., runner=LinearRunner())")  # type: ignore[type-abstract]
        one_of(observer_errors, "observer_errors", (RAISE, WARN))
        vars(self).update(runner=runner, observer_errors=observer_errors)
        vars(self).update(progress=Progress(), position=Position(), loop=InnerLoop(self))
        vars(self).update(_phases=(TrainingPhase(), ValidationPhase()))  # of each fit, so that calls stay bound to them
        self.lossfn = lossfn
        self.split = split
        self.data = as_data(data)  # a mapping of its own, also if one of another learner is passed
        self._identifier = secrets.token_hex(8)  # also of a copy, whose callbacks are copies
        self.step = PropDict()
        self.cbstate = PropDict()
        self.model = as_model(model)
        self.optimizer = as_optimizer(optimizer, self.model)
        listed, modules = as_callbacks(callbacks, use_default_callbacks=use_default_callbacks)
        self._resolve = checked_resolve(resolve, listed)
        self._use(listed, modules)

    # The state.

    if not TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None:
            """Set a field, checked as the argument of that name is."""
            if name in CHECKED:
                value = CHECKED[name](value)
            elif name in FIXED:
                raise ArgumentTypeError(f"learner.{name} cannot be set.\nFix: {FIXED[name]}")
            elif is_new(self, name) and (guess := closest(name, SETTABLE, ALIKE)):
                raise ArgumentTypeError(
                    f"A learner has no `{name}` to be set, and nothing would read it. Did you mean `{guess}`?\n"
                    f"Fix: correct the name:\n    learner.{guess} = ..."
                )
            object.__setattr__(self, name, value)

    @property
    def model(self) -> Any:
        """The module, or a `PropDict` of modules. Setting it sets `params` as well."""
        return self._model

    @model.setter
    def model(self, model: Any) -> None:
        self._model = as_model(model)
        self.without_optimizer: list[nn.Parameter] | None = None
        params = parameters_of(self._model)
        vars(self).update(models=models_of(self._model), params=params, grads=Gradients(params))
        vars(self).update(applied=self._model)  # by `forward`, where no engine is around the model
        vars(self).update(unset_buffers=frozenset(unset_buffers(self._model)))  # those that training may make

    @property
    def optimizer(self) -> Any:
        """The optimizer, or a `PropDict` of optimizers by the name of their model."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Any) -> None:
        self._optimizer = as_optimizer(optimizer, self._model)
        self.without_optimizer = None  # these parameters are worked out when they are needed
        vars(self).update(optimizers=optimizers_of(self._optimizer))

    @property
    def callbacks(self) -> tuple[Callback, ...]:
        """The callbacks, in the order given; `plan()` shows in which order they run."""
        return self._callbacks

    @callbacks.setter
    def callbacks(self, callbacks: Any) -> None:
        raise CallbackError(
            "The callbacks of a learner cannot be set as an attribute.\n"
            "Fix: call the method:\n    learner.set_callbacks([...])"
        )

    # Training.

    def fit(
        self,
        n: int | None = None,
        data: Any = None,
        *,
        steps: int | None = None,
        validate_every: int | None = None,
        phases: Iterable[Phase] | None = None,
    ) -> FitResult:
        """Train for `n` epochs, each followed by an epoch of validation if there are data for it; or for some steps.

        By steps, the training data are run over again as often as needed, or never end. An epoch is one pass over
        them; the last may be partial: it has its `EpochEnd` and is not counted. A cancelled step does not count.

        Args:
            n: The number of epochs; 0 or more.
            data: `(training,)`, `(training, validation)` or a mapping, used instead of the
                learner's own while this fit runs. Default: the learner's own.
            steps: The number of training steps, in place of `n`. A resumed fit gets the same.
            validate_every: The number of training steps from validation to validation, which is then in the middle of
                an epoch, and nowhere else. Default: after each epoch; with `steps`, once after all of them.
            phases: What is run in turn, `n` times over; by steps, the training phases in turn, and the others where
                validation is due. Default: `TrainingPhase()` and, if there are data for it, `ValidationPhase()`.

        Returns:
            What was done, and by whom it was cancelled if it was.

        Raises:
            ArgumentTypeError, ArgumentValueError: if there is no length or two of them, one is not a number of
                epochs or steps, or `phases` is not a list of phases that go with it.
            DataError: if there are no data for a phase.
            CallbackError: if a callback joined another learner since; or if a fit by steps would go on for ever, or
                could not end in the middle of an epoch.

        Example:
            >>> from treadle import toy_learner
            >>> toy_learner().fit(2)
            FitResult(epochs=2, steps=32, cancelled=None)
            >>> toy_learner().fit(steps=40, validate_every=10)
            FitResult(epochs=2, steps=40, cancelled=None)
        """
        membership.refuse_absent(self._callbacks, self._identifier)
        self._dispatcher.refresh()
        data = self.data if data is None else as_data(data)
        if phases is None:
            phases = self._phases if not self.position.scopes else (TrainingPhase(), ValidationPhase())
            phases = phases if "validation" in data else phases[:1]
        phases = as_phases(phases)
        length = checked_length(phases, n, steps, validate_every)
        if any(phase.training is not False for phase in phases):
            refuse_nothing_to_train(self.models, self.optimizers)
        for phase in phases:
            if phase.data_name in data:
                check_data(data[phase.data_name], str(phase))
        return loop.fit(self, length, data)

    def evaluate(self, data: Any = None, *metrics: Any, steps: int | None = None) -> dict[str, float]:
        """Measure the model on data, without a trace: nobody records it, saves, schedules or stops by it.

        Args:
            data: An iterable of batches. Default: `learner.data.test`, or else `learner.data.validation`.
            *metrics: What to measure beside the loss and the metrics of the learner's `Metrics`: whatever `Metrics`
                takes. The learner needs no `Metrics` for it.
            steps: The number of batches, of data that are longer or never end. Default: all.

        Returns:
            The values of the epoch by their names, `"Loss"` first.

        Raises:
            DataError: if there are no data, or a batch is not a pair.
            PluginError: if metrics are passed, and no installed plugin has the entry point `metrics`.

        Example:
            >>> from treadle import toy_learner
            >>> learner = toy_learner()
            >>> _ = learner.fit(5)
            >>> def bias(yhats, ys):
            ...     return (yhats - ys).mean()
            >>> list(learner.evaluate(learner.data.validation, bias))
            ['Loss', 'Bias']
        """
        if data is None:
            name = next((name for name in ("test", "validation") if name in self.data), None)
            if name is None:
                raise DataError(
                    f"learner.evaluate() runs over `learner.data.test`, or else over `learner.data.validation`, and "
                    f"the learner has neither (there is: {', '.join(self.data) or 'nothing'}).\n"
                    f"Fix: pass the data:\n    learner.evaluate(data)"
                )
            data = self.data[name]
        elif callable(data) and not (hasattr(data, "__iter__") or hasattr(data, "__getitem__")):
            raise DataError(
                f"learner.evaluate takes the data first and then metrics, got {SHORT.repr(data)} as the data.\n"
                f"Fix: pass None for the learner's own data:\n    learner.evaluate(None, {name_of(data)})"
            )
        phase = EvaluationPhase()
        measure = measure_of(self._callbacks, metrics)
        self._run_without_trace(phase, data, steps, "evaluate", lambda learner: measure.step(learner, phase))
        merge(self.position.processes, measure.added_up(self, phase))
        return {name: float(value) for name, value in measure.values().items()}

    def predict(self, data: Any, steps: int | None = None) -> Any:
        """Apply the model to data, without a trace, as `evaluate` does.

        Args:
            data: An iterable of batches: inputs alone, or pairs of inputs and targets, which are not used. One batch
                stands in a list: `predict([xs])`, `predict([(xs, ys)])`.
            steps: The number of batches, of data that are longer or never end. Default: all.

        Returns:
            The outputs of all batches in order, concatenated along the first axis, on the CPU: a tensor, or a tuple,
            list or dict of tensors, as the model's output is one. Of a tensor without axes there is one value for
            each batch.

        Raises:
            DataError: if there are no data; if what is passed is one batch, or could be one: a tensor, a mapping, or a
                tuple with tensors in it; or if outputs cannot be concatenated.

        Example:
            >>> from treadle import toy_learner
            >>> learner = toy_learner()
            >>> learner.predict(learner.data.validation, steps=2).shape
            torch.Size([16, 1])
        """
        refuse_one_batch(data)
        outputs = Outputs()
        self._run_without_trace(PredictionPhase(), data, steps, "predict", outputs.step)
        merge(self.position.processes, [outputs])
        return outputs.concatenated()

    def _run_without_trace(
        self, phase: Phase, data: Any, steps: int | None, method: str, collect: Callable[[Any], object]
    ) -> None:
        membership.refuse_absent(self._callbacks, self._identifier)
        self._dispatcher.refresh()
        check_data(data, f"learner.{method}")
        if steps is not None:
            steps = whole_number(steps, "steps", f"learner.{method}(data, steps=100)", least=1)
            data = FirstBatches(data, steps, f"learner.{method}")
        run_without_trace(self, phase, data, collect, self.ordering.guests(type(phase)))

    def handle(self, phase: Phase | None) -> Handle:
        """What is called in a phase, or for None outside of all phases: `learner.handle(phase)(StepBegin)`."""
        if self.current.phase is not phase:
            if phase is not None:
                check_phase(phase)
            self.current = self._dispatcher.handle(phase)
        return self.current

    # The callbacks. They change before a fit or after it: the graph holds for all of it.

    def plan(self, phases: Iterable[Phase] | None = None) -> Plan:
        """What will run: for each phase and event the callbacks in their order, and each edge's reason.

        Args:
            phases: Default: `TrainingPhase()`, `ValidationPhase()`, and those that a handler names.

        Example:
            >>> from treadle import toy_learner
            >>> print(toy_learner().plan())
            No callbacks: nothing runs beside the loop itself.
        """
        shown = None if phases is None else tuple(type(phase) for phase in as_phases(phases))
        return Plan(self.ordering, shown, observer_errors=self.observer_errors == WARN)

    def set_callbacks(self, callbacks: Iterable[Callback | str]) -> None:
        """Use these callbacks instead of the present ones. If they are refused, nothing changes.

        Raises:
            CallbackConflictError: if they cannot be brought into one order.
            CallbackError: if one of them is not a callback, or a fit, an epoch or a step is under way.
        """
        self._check_idle("set_callbacks")
        self._use(*as_callbacks(callbacks))

    def add_callback(self, callback: Callback | str) -> None:
        """Use one more callback. If it is refused, as by `set_callbacks`, nothing changes."""
        self._check_idle("add_callback")
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
            raise CallbackError(
                f"A callback is looked up by its class, got {cls!r}.\n"
                f"Fix: write, for example:\n    learner.get_callback(Recorder)"
            )
        return next((callback for callback in self._callbacks if isinstance(unwrap(callback), cls)), None)

    def replace_callback(self, callback: Callback) -> Callback | None:
        """Use a callback instead of the one of its class, which is returned; or, without one, add it."""
        self._check_idle("replace_callback")
        check_callback_instance(callback)
        old = self.get_callback(type(unwrap(callback)))
        if old is None:
            self.add_callback(callback)
        elif old is not callback:
            replaced, _ = as_callbacks([callback if present is old else present for present in self._callbacks])
            self._use(replaced, self._modules)
        return old

    def remove_callback(self, cls: type[Callback]) -> Callback | None:
        """Remove the first callback of a class and return it, or None. If that is refused, nothing changes."""
        self._check_idle("remove_callback")
        old = self.get_callback(cls)
        if old is not None:
            self._use([callback for callback in self._callbacks if callback is not old], self._modules)
        return old

    def trial(self, callbacks: Iterable[Callback]) -> Learner:
        """A learner of the same model, loss function and optimizer, with other callbacks and a record of its own.

        Of pairs of these callbacks in conflict, those who decide in this learner decide there as well.

        Example:
            >>> from treadle import toy_learner
            >>> learner = toy_learner()
            >>> trial = learner.trial([])
            >>> _ = trial.fit(1, learner.data)
            >>> trial.model is learner.model, trial.progress.steps, learner.progress.steps
            (True, 16, 0)
        """
        if isinstance(callbacks, str) or not isinstance(callbacks, Iterable):
            as_callbacks(callbacks)
        callbacks = list(callbacks)
        for callback in callbacks:
            check_callback_instance(callback)
        optimizer = torch.optim.Adam if self.optimizer is None else self.optimizer
        trial = Learner(
            self.model,
            self.lossfn,
            optimizer=optimizer,
            use_default_callbacks=False,
            split=self.split,
            observer_errors=self.observer_errors,
        )
        trial._resolve = self._resolve
        trial._use(callbacks, self._modules)
        return trial

    def _check_idle(self, method: str) -> None:
        """Refuse a change of callbacks while their handlers are being called."""
        if not self.position.scopes:
            return
        raise CallbackError(
            f"learner.{method} was called while a fit, an epoch or a step is under way; the callbacks, whose order is "
            f"worked out for all of it, stay as they are.\n"
            f"Fix: call it before the fit or after it; to switch a callback off for a while, wrap it:\n"
            f"    ConditionalCallback(callback, condition)"
        )

    def _use(self, callbacks: Iterable[Callback], modules: list[str]) -> None:
        """Use these callbacks. If they are refused, or an `on_init` fails, nothing changes."""
        before = [(holder, dict(vars(holder))) for holder in (self, self.cbstate)]
        self._compile(tuple(callbacks), modules)
        leave: Callable[[], object] | None = None
        try:
            leave = membership.join(self._callbacks, self._identifier)
            self.current[Init]()
        except BaseException as error:  # an `on_init` may have set anything
            if leave is not None:
                leave()
            for holder, attributes in before:
                vars(holder).clear()
                vars(holder).update(attributes)
            if isinstance(error, FitException):
                raise loop.not_under_way(error, "fit") from error
            raise
        report_slips(self._callbacks, before[0][1].get("_callbacks", ()))

    def _compile(self, callbacks: tuple[Callback, ...], modules: list[str]) -> None:
        ordering = Ordering(callbacks, resolver(modules_for(callbacks, modules)), self._resolve)
        dispatcher = Dispatcher(self, callbacks)
        self._callbacks, self._modules, self.ordering, self._dispatcher = callbacks, modules, ordering, dispatcher
        self.current = dispatcher.handle(None)
        processes = (callback.processes for callback in callbacks)
        self.position.processes = next((found for found in processes if found is not None), ALONE)

    def __getstate__(self) -> dict[str, Any]:
        """All but what was compiled, which would go on calling the callbacks of the learner copied.

        Tensors of the last step leave their graph, which belongs to the parameters of this learner.
        """
        compiled = ("ordering", "_dispatcher", "current")
        state = {name: value for name, value in vars(self).items() if name not in compiled}
        return state | {"step": PropDict(map_tensors(without_graph, dict(vars(self.step))))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if not self.position.scopes:  # in a copy nothing is under way, wherever it was made
            self.progress.phase, self.progress.step = None, 0
        self._compile(self._callbacks, self._modules)

    def __repr__(self) -> str:
        names = ", ".join(callback.name for callback in self._callbacks) or "none"
        return f"Learner({', '.join(type(model).__name__ for model in self.models)}; callbacks: {names})"


def is_new(learner: Learner, name: str) -> bool:
    """Whether a learner has nothing of that name, and its class has not either."""
    return not (name.startswith("_") or name in vars(learner) or hasattr(type(learner), name))


def as_propdict(value: Any, name: str) -> PropDict:
    """A `PropDict`, which a mapping becomes.

    Raises:
        ArgumentTypeError: if it is neither.
    """
    if isinstance(value, PropDict):
        return value
    return PropDict(instance_of(value, name, Mapping, f"{name} = PropDict()"))  # type: ignore[type-abstract]


#: How the fields are checked that can be set.
CHECKED: dict[str, Callable[[Any], Any]] = {
    "lossfn": as_lossfn,
    "split": as_split,
    "data": lambda value: value if isinstance(value, PropDict) else as_data(value),
    "step": functools.partial(as_propdict, name="learner.step"),
    "cbstate": functools.partial(as_propdict, name="learner.cbstate"),
}

SETTABLE = ("model", "optimizer", *CHECKED)

#: What follows from something else, or is there once and for all, with what to write instead.
FIXED = {
    "params": "set the model that they belong to:\n    learner.model = model",
    "grads": "set the model that they belong to:\n    learner.model = model",
    "models": "set the model:\n    learner.model = model",
    "optimizers": "set the optimizer:\n    learner.optimizer = optimizer",
    "runner": "pass it when the learner is made:\n    Learner(..., runner=ThreadedRunner())",
    "observer_errors": 'pass it when the learner is made:\n    Learner(..., observer_errors="warn")',
    "progress": "make another learner, which counts from 0, or set one of its fields:\n    learner.progress.epochs = 0",
    "position": "leave it to the loop.",
    "applied": "leave it to the loop; set the model:\n    learner.model = model",
    "loop": "leave it as it is.",
}


def without_graph(value: Any) -> Any:
    """A tensor that was computed, without what it was computed from; all else as it is."""
    return value if getattr(value, "grad_fn", None) is None else value.detach()


def fit(
    learner: Learner,
    n: int | None = None,
    data: Any = None,
    *,
    steps: int | None = None,
    validate_every: int | None = None,
    phases: Iterable[Phase] | None = None,
) -> FitResult:
    """`learner.fit(n, data, ...)`, as a function.

    Example:
        >>> from treadle import toy_learner
        >>> fit(toy_learner(), 1).steps
        16
    """
    if not isinstance(learner, Learner):
        raise not_a_learner(learner, "fit(learner, 10)")
    return learner.fit(n, data, steps=steps, validate_every=validate_every, phases=phases)
