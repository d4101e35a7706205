"""`train`: one pass over data points, by a loss function; `epochs`: several."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from loguru import logger
from torch import nn
from treadle import Callback, CancelStepException, FitResult, Learner, Read, Write, run_epoch
from treadle.authoring import DeviceNumber, batches, function, length_of, models_by_name, whole_number
from treadle.errors import ArgumentTypeError, ArgumentValueError, LossError
from treadle.operations import Step

from treadle_flux.objective import EXAMPLES, DomainError, ObjectivePhase, loss_of
from treadle_flux.params import FIX, Params, check_optimizer, params, refuse_not_held

Calls = Callable[[], object] | Iterable[Callable[[], object]]


def train(
    loss: Callable[..., torch.Tensor], model: Any, data: Iterable[Any], optimizer: torch.optim.Optimizer, cb: Calls = ()
) -> FitResult:
    """Improve parameters by a loss function, in one pass over data points.

    The second argument says in which style. Explicit: for a model, or a mapping of models by name, the loss function
    is called with it, `loss(model, *d)` for a data point `d` that is a tuple or a list and `loss(model, d)` for any
    other. Implicit: for `params(model)` it is called with the data point alone, and those parameters are changed and no
    others.

    Models are in training mode meanwhile, also those that were wholly in the mode for evaluation; while a callback
    runs they are in that one.

    Args:
        loss: Returns one number in a tensor.
        model: What is trained: a module, a mapping of modules, or parameters.
        data: The data points; any iterable. Where there are none, nothing is done.
        optimizer: Holds the parameters. Its state goes on from call to call.
        cb: A function without arguments, or several, called in their order after each update. Default: none.

    Returns:
        What was done; `cancelled` says by what `stop()` ended it, if it did.

    Raises:
        DomainError: before an update by a loss that is not finite.
        LossError: if the loss is not one number that depends on the parameters.
        ArgumentTypeError, ArgumentValueError, DataError: if an argument cannot be used.

    Example:
        >>> from treadle_flux import params
        >>> model = nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(params(model), lr=0.1)
        >>> x = torch.linspace(-1, 1, 8).reshape(-1, 1)
        >>> train(lambda x, y: (model(x) - y).square().mean(), params(model), [(x, 2 * x)] * 3, optimizer)
        FitResult(epochs=1, steps=3, cancelled=None)
        >>> train(lambda model, x, y: (model(x) - y).square().mean(), model, [(x, 2 * x)], optimizer)
        FitResult(epochs=1, steps=1, cancelled=None)
    """
    function(loss, "loss", EXAMPLES)
    check_optimizer(optimizer)
    check_points(data)
    functions = as_functions(cb)
    phase: ObjectivePhase
    if isinstance(model, nn.Module) or is_mapping_of_modules(model):
        phase, trained, modules = OnePass(), params(model), tuple(models_by_name(model).values())
        inputs = [tensor for group in optimizer.param_groups for tensor in group["params"] if tensor in trained]
        if not inputs:
            refuse_not_held(trained, optimizer)
            raise ArgumentValueError(
                f"Every parameter of the {type(model).__name__} is frozen, so there is nothing to train.\n"
                f"Fix: let one have a gradient:\n    parameter.requires_grad_()"
            )
    else:
        trained = as_params(model)
        phase, inputs, modules = ImplicitPhase(), list(trained), trained.modules
        refuse_not_held(inputs, optimizer)
        model = Held(trained)
    learner = Learner(
        model,
        loss,
        optimizer=optimizer,
        callbacks=[PassOverData(inputs, modules, functions)],
        use_default_callbacks=False,
    )
    if length_of(data) == 0:
        return FitResult(epochs=1, steps=0)
    with training(modules):
        return learner.fit(1, (data,), phases=[phase])


def epochs(n: int) -> Iterator[int]:
    """The numbers of epochs, from 1, each logged: for several calls of `train`.

    Example:
        >>> for epoch in epochs(2):
        ...     print("hello", epoch)
        hello 1
        hello 2
    """
    return logged(whole_number(n, "n", "for epoch in epochs(2): train(...)", least=0))


def logged(n: int) -> Iterator[int]:
    """The numbers; `epochs` checks the argument when it is called."""
    for epoch in range(1, n + 1):
        logger.info(f"Epoch {epoch}")
        yield epoch


class OnePass(ObjectivePhase):
    """One pass over data points, of which there may be none: then there is nothing to do."""

    def epoch(self, learner: Any, data: Any) -> None:
        """A step for each data point."""
        with run_epoch(learner, self) as handle:
            for point in batches(learner, self, data):
                try:
                    handle(Step, point)
                except CancelStepException:  # before the step's own scope could catch it
                    continue


class ImplicitPhase(OnePass):
    """The implicit style: the loss function knows the models."""

    def objective(self, learner: Any, point: tuple[Any, ...]) -> torch.Tensor:
        return loss_of(learner.lossfn, point)


class Held(nn.Module):
    """Parameters as the model of a learner, with the modules that they were taken from, which are set to its mode."""

    def __init__(self, parameters: Params) -> None:
        super().__init__()
        self.modules_of_params = nn.ModuleList(parameters.modules)
        self.params = parameters

    def named_parameters(self, *args: Any, **options: Any) -> Iterator[tuple[str, Any]]:
        yield from ((f"params[{i}]", parameter) for i, parameter in enumerate(self.params))


class PassOverData(Callback):
    """What `train` adds to the loop: gradients of its parameters alone, finite losses alone, the callbacks.

    Args:
        inputs: The parameters.
        modules: The models, in the mode for evaluation while a function is called.
        functions: What is called after each update.
    """

    state_access = {"step.loss": Read, "params": Write}

    def __init__(
        self, inputs: list[torch.Tensor], modules: Iterable[nn.Module], functions: list[Callable[[], object]]
    ) -> None:
        self.inputs, self.functions = inputs, functions
        self.modules = [part for module in modules for part in module.modules()]
        if not functions:
            vars(self).update(on_step_end=None)  # it does not handle it

    def backward(self, learner: Any) -> bool:
        loss = learner.step.loss
        if not loss.requires_grad:
            raise LossError(NO_GRADIENT)
        started = None if loss.is_cpu else DeviceNumber(loss)  # the device has work while it is copied
        loss.backward(inputs=self.inputs)  # nothing is added to the gradients of others
        if self.inputs[0].grad is None and all(tensor.grad is None for tensor in self.inputs):
            raise LossError(NO_GRADIENT)
        value = loss.item() if started is None else started.value
        if not math.isfinite(value):
            raise DomainError(value, learner.progress.step)
        return True

    def on_step_end(self) -> None:
        with evaluating(self.modules):
            for call in self.functions:
                call()


NO_GRADIENT = (
    "The loss of a data point depends on none of the parameters that are trained, so nothing can be learned from it.\n"
    "Fix: compute it from the model whose parameters are passed, without `.detach()`, `.item()` and `torch.no_grad()`; "
    "or leave the data point out, in the loss function:\n    treadle_flux.skip()"
)


@contextmanager
def training(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Models that are wholly in the mode for evaluation are in training mode; parts that are in it stay as they are."""
    wholly = [module for module in modules if not any(part.training for part in module.modules())]
    try:
        for module in wholly:
            module.train()
        yield
    finally:
        for module in wholly:
            module.eval()


@contextmanager
def evaluating(modules: list[nn.Module]) -> Iterator[None]:
    """Modules are in the mode for evaluation, and then in the modes that they had."""
    in_training = [module for module in modules if module.training]
    try:
        for module in in_training:
            module.training = False
        yield
    finally:
        for module in in_training:
            module.training = True


def as_functions(cb: Any) -> list[Callable[[], object]]:
    """The callbacks as a list of functions."""
    example = "train(loss, model, data, optimizer, cb=[lambda: print('training')])"
    if isinstance(cb, Callback) or not (callable(cb) or isinstance(cb, Iterable)):
        raise not_a_function(cb) if isinstance(cb, Callback) else not_callable(cb, example)
    functions = [cb] if callable(cb) else list(cb)
    for call in functions:
        if isinstance(call, Callback):
            raise not_a_function(call)
        function(call, "cb", example, takes=[])
    return functions


def not_callable(cb: Any, example: str) -> ArgumentTypeError:
    """The error for what is neither a function nor a list of functions."""
    return ArgumentTypeError(
        f"cb must be a function without arguments or a list of these, got {cb!r:.200}.\n"
        f"Fix: write, for example:\n    {example}"
    )


def not_a_function(callback: Callback) -> ArgumentTypeError:
    """The error for a callback of a learner, which would begin anew in each call of `train`."""
    return ArgumentTypeError(
        f"cb got {callback.name}, a callback of a learner; those of train are functions without arguments.\n"
        f"Fix: give it to a learner that trains by the same loss function:\n"
        f"    learner = Learner(model, loss, data=(data,), optimizer=optimizer, callbacks=[...])\n"
        f"    learner.fit(n, phases=[ObjectivePhase()])"
    )


def check_points(data: Any) -> None:
    """Refuse data that are one data point, whose parts would be taken for data points."""
    pair = isinstance(data, tuple) and bool(data) and all(map(is_array, data))
    if not (pair or is_array(data) or isinstance(data, Mapping | str | bytes)):
        return
    what = f"a tuple of {len(data)} tensors" if pair else f"a {type(data).__name__}"
    raise ArgumentTypeError(
        f"data must be an iterable of data points, got {what}, which looks like one data point.\n"
        f"Fix: pass a list, or a loader that makes batches of it:\n"
        f"    [(x, y)]\n    DataLoader((xs, ys), batchsize=32)"
    )


def is_array(value: Any) -> bool:
    """Whether it is a tensor or an array."""
    return isinstance(value, torch.Tensor) or hasattr(value, "__array_interface__")


def is_mapping_of_modules(model: Any) -> bool:
    """Whether it is several models by name."""
    return isinstance(model, Mapping) and bool(model) and all(isinstance(part, nn.Module) for part in model.values())


def as_params(model: Any) -> Params:
    """Parameters, also those of a list or an iterator.

    Raises:
        ArgumentTypeError: for a list of modules, of which nobody knows the style.
        ArgumentValueError: if there is none.
    """
    if isinstance(model, list | tuple):
        if any(isinstance(part, nn.Module) for part in model):
            raise ArgumentTypeError(
                f"The second argument of train is a {type(model).__name__} of modules.\n"
                f"Fix: pass their parameters, for a loss that is called with the data point alone, or one module:\n"
                f"    params(*models)\n    torch.nn.ModuleList(models)"
            )
    elif not isinstance(model, Params | torch.Tensor | Iterator | Mapping):
        raise ArgumentTypeError(
            f"The second argument of train must be a model or parameters, got a {type(model).__name__}.\n"
            f"Fix: write one of these:\n    {EXAMPLES}"
        )
    trained = params(model)
    if not len(trained):
        raise ArgumentValueError(f"There is no parameter to be trained.\nFix: pass some:\n    {FIX}")
    return trained
