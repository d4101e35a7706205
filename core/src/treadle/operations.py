"""Operations: what the loop does between its events, as hooks that a callback can wrap or override.

Events report, operations do. An operation is a hook with the core's own implementation, `run`, last in
line: a callback's method of that name overrides it by returning anything but None, and wraps it with
`@hookimpl(wrapper=True)`. A change that must be undone is a wrapper. An operation that no
callback handles costs a plain function call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from treadle.arguments import misfit
from treadle.errors import ArgumentTypeError, CallbackError, LossError
from treadle.events import Hook, arguments_of, declared, hookspec, snake_case

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.phases import Phase


class Operation(Hook):
    """Something that the loop does. A subclass with a static method `run` is a new operation.

    The hook's name is the class's name in snake_case. Its arguments are those of `run`, `learner` and
    `phase` first; what `run` returns is the result unless a callback overrides it. The specification
    may be written in the class, so that a search for the hook's name finds it. A static method
    `check_result(learner, result)` is called with the result wherever a callback handles it; static
    methods `before(learner)` and `after(learner, result)` are called around every operation. A `run` that does nothing
    may be joined by an `idle`, which gives the same without arguments and without entering a Python function.

    Raises:
        ArgumentTypeError: if there is no `run`, if it cannot be called by position, or if the class
            defines a hook specification of another name or with other arguments.

    Example:
        >>> class Augment(Operation):
        ...     "Change the inputs of a step."
        ...     @staticmethod
        ...     @hookspec(firstresult=True)
        ...     def augment(learner, phase): ...
        ...     @staticmethod
        ...     def run(learner, phase):
        ...         return learner.step.xs
        >>> Augment.hook, Augment.arguments
        ('augment', ('learner', 'phase'))
    """

    run: ClassVar[Callable[..., Any]]
    idle: ClassVar[Callable[[], Any] | None] = None
    check_result: ClassVar[Callable[..., None] | None] = None
    before: ClassVar[Callable[..., None] | None] = None
    after: ClassVar[Callable[..., None] | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not inspect.isroutine(getattr(cls, "run", None)):
            raise ArgumentTypeError(
                f"The operation {cls.__name__} has no `run`.\n"
                f"Fix: say what it does unless a callback overrides it:\n"
                f"    @staticmethod\n    def run(learner, phase): ..."
            )
        if arguments_of(cls.run)[:2] != ("learner", "phase") or not by_position(cls.run):
            raise ArgumentTypeError(
                f"{cls.__name__}.run takes {inspect.signature(cls.run)}; an operation is called with the learner, the "
                f"phase, and whatever else it needs, by position and without defaults.\n"
                f"Fix: begin with these two, in a static method:\n"
                f"    @staticmethod\n    def run(learner, phase): ..."
            )
        if "run" in vars(cls) and "idle" not in vars(cls):
            cls.idle = None  # that of its base is not for it
        cls.declare(snake_case(cls.__name__), spec_of(cls.run))


def by_position(function: Callable[..., Any]) -> bool:
    """Whether a function takes every argument by position, and none has a default."""
    parameters = inspect.signature(function).parameters.values()
    return all(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters)


def spec_of(run: Callable[..., Any]) -> Callable[..., object]:
    """The specification of an operation that writes none: that of `run`, whose arguments pluggy reads off."""

    @hookspec(firstresult=True)
    @functools.wraps(run)
    def spec(*args: Any) -> None: ...

    return spec


class Epoch(Operation):
    """Run an epoch over data; the phase knows how."""

    @staticmethod
    @hookspec(firstresult=True)
    def epoch(learner: Learner, phase: Phase, data: Any) -> Any: ...

    @staticmethod
    def run(learner: Learner, phase: Phase, data: Any) -> Any:
        return phase.epoch(learner, data)


class Step(Operation):
    """Run a step with a batch; the phase knows how."""

    @staticmethod
    @hookspec(firstresult=True)
    def step(learner: Learner, phase: Phase, batch: Any) -> Any: ...

    @staticmethod
    def run(learner: Learner, phase: Phase, batch: Any) -> Any:
        return phase.step(learner, batch)


class Accumulate(Operation):
    """Whether the step under way only adds to the gradients, with no update of the parameters; by default it does not.

    The result stands in `step.accumulating`. It is known before the forward pass, since engines that share the
    gradients of several processes need to know it there.
    """

    @staticmethod
    @hookspec(firstresult=True)
    def accumulate(learner: Learner, phase: Phase) -> bool | None: ...

    @staticmethod
    def run(learner: Learner, phase: Phase) -> bool:
        return False

    idle = functools.partial(bool, False)

    @staticmethod
    def check_result(learner: Learner, accumulating: Any) -> None:
        """Refuse what is neither True nor False."""
        if accumulating is not True and accumulating is not False:
            raise CallbackError(
                f"The operation `accumulate`, which a callback handles, returned {accumulating!r}, not True or False.\n"
                f"Fix: say whether the step only adds to the gradients; a wrapper returns what it wraps:\n"
                f"    return (yield)"
            )


class Forward(Operation):
    """Apply the model to `step.xs`: a tensor, a tuple of positional or a mapping of named inputs."""

    @staticmethod
    @hookspec(firstresult=True)
    def forward(learner: Learner, phase: Phase) -> Any: ...

    @staticmethod
    def run(learner: Learner, phase: Phase) -> Any:
        model, xs = learner.applied, learner.step.xs
        if not callable(model):
            raise ArgumentTypeError(
                f"{phase} applies one model, and the learner has several: {', '.join(model)}.\n"
                f"Fix: write a phase that says what the models do:\n    def step(self, learner, batch): ..."
            )
        try:
            if isinstance(xs, torch.Tensor):
                return model(xs)
            if isinstance(xs, (tuple, list)):
                return model(*xs)
            return model(**xs) if isinstance(xs, Mapping) else model(xs)
        except ARGUMENT_ERRORS as error:
            error.add_note(f"The model {name_of(model)} was called with xs: {kind_of(xs)}.")
            raise


class Loss(Operation):
    """Compare `step.yhats` with `step.ys` by the loss function; without one, take the loss in `step.yhats`."""

    @staticmethod
    @hookspec(firstresult=True)
    def loss(learner: Learner, phase: Phase) -> Any: ...

    @staticmethod
    def run(learner: Learner, phase: Phase) -> Any:
        step, lossfn = learner.step, learner.lossfn
        if lossfn is None:
            return carried_loss(step.yhats)
        try:
            loss = lossfn(step.yhats, step.ys)
        except ARGUMENT_ERRORS as error:
            if isinstance(error, TypeError) and misfit(lossfn, 2):
                raise not_of_two(lossfn) from None
            error.add_note(
                f"The loss function {name_of(lossfn)} was called with yhats: {kind_of(step.yhats)}, and "
                f"ys: {kind_of(step.ys)}."
            )
            raise
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise not_a_loss(loss, f"The loss function {name_of(lossfn)} returned")
        return loss

    @staticmethod
    def check_result(learner: Learner, loss: Any) -> None:
        """Refuse what a callback returned that is not a loss."""
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise not_a_loss(loss, "The operation `loss`, which a callback handles, returned")


class Backward(Operation):
    """Compute the gradients of `step.loss`."""

    @staticmethod
    @hookspec(firstresult=True)
    def backward(learner: Learner, phase: Phase) -> Any: ...

    @staticmethod
    def run(learner: Learner, phase: Phase) -> None:
        target = learner.position.updates.target
        loss = getattr(learner.step, target.loss)  # which enters no Python function
        if not loss.requires_grad:
            raise LossError(
                f"The loss that {lossfn_or_model(learner)} returned needs no gradient, so nothing can be learned "
                f"from it: every parameter is frozen, or the model or the loss function left the graph.\n"
                f"Fix: look for `.detach()`, `.item()`, `torch.no_grad()` and `requires_grad_(False)`."
            )
        if target.models is None:
            loss.backward()
        else:  # nothing reaches the gradients of the other models
            loss.backward(inputs=[p for p in target.parameters(learner) if p.requires_grad])

    @staticmethod
    def before(learner: Learner) -> None:
        """Start from no gradients, or from those of the batches before."""
        learner.position.updates.begin_backward(learner)

    @staticmethod
    def after(learner: Learner, result: Any) -> None:
        """Count the batch that is now in the gradients."""
        learner.position.updates.end_backward(learner)


class FinalizeGradients(Operation):
    """Make the gradients of an update whole: unscale, reduce, weigh. Without callbacks they are that already."""

    @staticmethod
    @hookspec(firstresult=True)
    def finalize_gradients(learner: Learner, phase: Phase) -> Any: ...

    @staticmethod
    def run(learner: Learner, phase: Phase) -> None: ...

    idle = type(None)


class Update(Operation):
    """Let the optimizers change the parameters.

    Its result says whether they did: after False there is no `UpdateEnd`. Whatever it is, the gradients are used up:
    they stay readable until the next backward pass begins, which starts from none.
    """

    @staticmethod
    @hookspec(firstresult=True)
    def update(learner: Learner, phase: Phase) -> bool | None: ...

    @staticmethod
    def run(learner: Learner, phase: Phase) -> bool:
        updates = learner.position.updates
        target, let_step = updates.target, updates.let_step
        for optimizer in learner.optimizers if target.models is None else target.optimizers(learner):
            try:
                let_step(optimizer)
            except TypeError as error:
                if needs_closure(optimizer):
                    error.add_note(CLOSURE.format(type(optimizer).__name__))
                raise
        return True

    @staticmethod
    def check_result(learner: Learner, changed: Any) -> None:
        """Refuse what does not say whether the parameters were changed."""
        if changed is not True and changed is not False and changed is not None:
            raise CallbackError(
                f"The operation `update`, which a callback handles, returned {changed!r}, which does not say whether "
                f"the parameters were changed.\n"
                f"Fix: return True or, if they were not, False; a wrapper returns what it wraps:\n"
                f"    return (yield)"
            )

    @staticmethod
    def after(learner: Learner, changed: Any) -> None:
        """Count the update; its gradients are used up."""
        learner.position.updates.end_update(learner, changed)


class Agree(Operation):
    """Decide, at a point to which all processes of a run come in the same order, whether all go on.

    It belongs to no phase, and is performed only where a callback handles it: where what was raised on one process is
    to take effect on all. `request` is None, or what was raised here: a cancel, an error, an interrupt; or `EndOfData`,
    from a process that has no further batch. Who raised something comes to the point that all others come to next, so
    each process takes part in each agreement once.

    Args:
        point: What comes next: "epoch" (of a fit that has begun), "epoch begin" (after `EpochBegin`), "batch",
            "forward", "backward", "gradients" (finalizing them or, in a step that accumulates, keeping them), "update",
            "step end", "epoch over" (after the last step), "epoch end" (after `EpochEnd`), "fit end" (after `FitEnd`);
            or what a callback does that comes to a point of its own, such as "save".

    Returns:
        What takes effect on this process, an exception; or False, if all go on. A request is answered by itself, or by
        what ends more. In a phase that trains, the end of one process's data is that of all; in others `EndOfData` is
        returned when no process has a batch, and until then False: who has none waits.
    """

    phased = False

    @staticmethod
    @hookspec(firstresult=True)
    def agree(learner: Learner, phase: Phase | None, point: str, request: BaseException | None) -> Any: ...

    @staticmethod
    def run(learner: Learner, phase: Phase | None, point: str, request: BaseException | None) -> BaseException | bool:
        return False if request is None else request

    @staticmethod
    def check_result(learner: Learner, outcome: Any) -> None:
        """Refuse what is neither an exception nor False."""
        if outcome is not False and not isinstance(outcome, BaseException):
            raise CallbackError(
                f"The operation `agree`, which a callback handles, returned {outcome!r}, neither an exception nor "
                f"False.\nFix: return what takes effect, or False if all go on; a wrapper returns what it wraps:\n"
                f"    return (yield)"
            )


#: What to do about an optimizer that cannot step without a closure.
CLOSURE = """\
{} computes the loss itself, several times in a step.
Fix: override `update` in a callback, by the operations, to which all other callbacks belong:
    class Closure(Callback):
        state_access = {{"loop": Write, "model": Write, "optimizer": Write, "step": Write}}

        def update(self, learner, phase: AbstractTrainingPhase):
            def closure():
                learner.step.yhats = learner.loop.perform(Forward)
                learner.step.loss = learner.loop.perform(Loss)
                learner.loop.perform(Backward)
                learner.loop.perform(FinalizeGradients)
                return learner.step.loss

            learner.optimizer.step(closure)
            return True"""

#: What a model or a loss function raises that gets what it cannot use.
ARGUMENT_ERRORS = (AttributeError, IndexError, RuntimeError, TypeError, ValueError)


def kind_of(value: Any) -> str:
    """What a value is, in a message: a tensor's shape and type, or the class."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(map(repr, value)) or 'nothing'}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a {type(value).__name__}"


def not_of_two(lossfn: Any) -> ArgumentTypeError:
    """The error for a loss function that does not take what `loss` passes."""
    return ArgumentTypeError(
        f"The loss function {name_of(lossfn)} is called with (yhats, ys), and takes {misfit(lossfn, 2)}.\n"
        f"Fix: write, for example:\n    Learner(model, torch.nn.functional.mse_loss)\n"
        f"Or write a phase that calls it otherwise:\n    def step(self, learner, batch): ..."
    )


def carried_loss(yhats: Any) -> Any:
    """The loss that the output of a model carries: `output.loss`, or `output["loss"]`.

    Raises:
        LossError: if there is none.
    """
    loss = yhats.get("loss") if isinstance(yhats, Mapping) else getattr(yhats, "loss", None)
    if loss is None:
        raise LossError(
            f"The learner has no loss function, and the output of the model, {kind_of(yhats)}, carries no loss.\n"
            f"Fix: let the model return one, as those of Hugging Face do that get `labels`, or pass a loss function:\n"
            f"    Learner(model, torch.nn.functional.cross_entropy)"
        )
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        raise not_a_loss(loss, "The loss that the output of the model carries is")
    return loss


def lossfn_or_model(learner: Any) -> str:
    """Who returned the loss, in a message."""
    return "the model" if learner.lossfn is None else name_of(learner.lossfn)


def not_a_loss(loss: Any, origin: str) -> LossError:
    """The error for what is not a loss; its message begins with the `origin`: who returned it."""
    got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else f"{loss!r}"
    return LossError(
        f"{origin} {got}; a loss is one number in a tensor.\n"
        f"Fix: reduce it, for example by its mean:\n    lambda yhats, ys: lossfn(yhats, ys).mean()"
    )


def known_operations() -> dict[str, type[Operation]]:
    """Every operation that is declared by now, by the name of its hook."""
    return declared(Operation)


def needs_closure(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer cannot step without a function that computes the loss, as `LBFGS` cannot."""
    parameters = inspect.signature(optimizer.step).parameters.values()
    return any(parameter.default is parameter.empty for parameter in parameters if parameter.name == "closure")


def name_of(function: Any) -> str:
    """What to call a function or a module in a message."""
    return getattr(function, "__qualname__", None) or type(function).__name__
