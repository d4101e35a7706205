"""Operations: what the loop does between its events, as hooks that a callback can wrap or answer.

An event tells, an operation does. Each is a hook with the core's own implementation, `run`, last
in line: a callback's method of that name answers for it by returning anything but None, and wraps
it with `@hookimpl(wrapper=True)`. A change that must be undone is a wrapper. An operation that
nobody touches costs a plain function call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from treadle.errors import ArgumentTypeError, LossError
from treadle.events import Hook, snake_case, subclasses

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.phases import Phase


class Operation(Hook):
    """Something that the loop does. A subclass with a static method `run` is a new operation.

    The hook's name is the class's name in snake_case, its arguments are those of `run`, of which
    the first two are `learner` and `phase`; what `run` returns is the result if nobody answers. A
    static method `heed(learner, result)` is told the result of an answer, and a static method
    `after(learner, result)` is called whoever did the operation.

    Example:
        >>> class Augment(Operation):
        ...     "Change the inputs of a step."
        ...     @staticmethod
        ...     def run(learner, phase):
        ...         return learner.step.xs
        >>> Augment.hook, Augment.arguments
        ('augment', ('learner', 'phase'))
    """

    run: ClassVar[Callable[..., Any]]
    heed: ClassVar[Callable[..., None] | None] = None
    after: ClassVar[Callable[..., None] | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not callable(getattr(cls, "run", None)):
            raise ArgumentTypeError(
                f"The operation {cls.__name__} needs a static method `run`: def run(learner, phase): ..."
            )
        cls.declare(snake_case(cls.__name__), tuple(inspect.signature(cls.run).parameters), firstresult=True)


class Epoch(Operation):
    """Run an epoch over data; the phase knows how."""

    @staticmethod
    def run(learner: Learner, phase: Phase, data: Any) -> Any:
        return phase.epoch(learner, data)


class Step(Operation):
    """Run a step with a batch; the phase knows how."""

    @staticmethod
    def run(learner: Learner, phase: Phase, batch: Any) -> Any:
        return phase.step(learner, batch)


class Forward(Operation):
    """Apply the model to `step.xs`: a tensor, a tuple of positional or a mapping of named inputs."""

    @staticmethod
    def run(learner: Learner, phase: Phase) -> Any:
        model, xs = learner._model, learner.step.xs  # `learner.model` is a property, and this is every step
        if not callable(model):
            raise ArgumentTypeError(
                f"{phase} applies one model, and the learner has several: {', '.join(model)}. "
                f"Write a phase whose `step` says what each of them does."
            )
        if isinstance(xs, torch.Tensor):
            return model(xs)
        if isinstance(xs, (tuple, list)):
            return model(*xs)
        return model(**xs) if isinstance(xs, Mapping) else model(xs)


class Loss(Operation):
    """Compare `step.yhats` with `step.ys` by the loss function."""

    @staticmethod
    def run(learner: Learner, phase: Phase) -> Any:
        step = learner.step
        loss = learner.lossfn(step.yhats, step.ys)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise no_loss(loss, f"The loss function {name_of(learner.lossfn)} returned")
        return loss

    @staticmethod
    def heed(learner: Learner, loss: Any) -> None:
        """Refuse a callback's answer that is no loss."""
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise no_loss(loss, "A callback answered for the operation `loss` with")


class Backward(Operation):
    """Compute the gradients of `step.loss`."""

    @staticmethod
    def run(learner: Learner, phase: Phase) -> None:
        loss = learner.step.loss
        if not loss.requires_grad:
            raise LossError(
                f"The loss that {name_of(learner.lossfn)} returned needs no gradient, so nothing can be learned "
                f"from it. Either every parameter is frozen, or model or loss function left the graph: look for "
                f"`.detach()`, `.item()`, `torch.no_grad()` and `requires_grad_(False)`."
            )
        loss.backward()

    @staticmethod
    def after(learner: Learner, result: Any) -> None:
        """Count the batch that is now in the gradients."""
        learner.progress.accumulated += 1


class Update(Operation):
    """Let the optimizer change the parameters.

    Its result says whether the gradients were used: after False they are kept, and the next step
    adds to them; otherwise they are cleared when the next step begins.
    """

    @staticmethod
    def run(learner: Learner, phase: Phase) -> bool:
        for optimizer in learner.optimizers:
            try:
                optimizer.step()
            except TypeError as error:
                if needs_closure(optimizer):
                    error.add_note(
                        f"{type(optimizer).__name__} computes the loss itself, several times in a step. Let a callback "
                        f"answer `update`: def update(self, learner): learner.optimizer.step(closure); return True"
                    )
                raise
        return True

    @staticmethod
    def after(learner: Learner, used: Any) -> None:
        """Count the update; or keep the gradients for the next step."""
        learner.position.clear_gradients = used is not False
        if used is not False:
            learner.progress.updates += 1
            learner.progress.accumulated = 0


def no_loss(loss: Any, origin: str) -> LossError:
    """The error for what is no loss.

    Args:
        loss: What was given instead.
        origin: The beginning of the sentence, which says by whom.
    """
    got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else f"{loss!r}"
    return LossError(
        f"{origin} {got}; a loss is one number in a tensor. "
        f"Reduce it, for example by its mean: lambda yhats, ys: lossfn(yhats, ys).mean()"
    )


def known_operations() -> dict[str, type[Operation]]:
    """Every operation that is declared by now, by the name of its hook."""
    declared = (operation for operation in subclasses(Operation) if "hook" in vars(operation))  # not one refused above
    return {operation.hook: operation for operation in declared}


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer cannot step without a function that computes the loss, as `LBFGS` cannot."""
    parameters = inspect.signature(optimizer.step).parameters.values()
    return any(parameter.default is parameter.empty for parameter in parameters if parameter.name == "closure")


def name_of(function: Any) -> str:
    """What to call a function or a module in a message."""
    return getattr(function, "__qualname__", None) or type(function).__name__
