"""`StopOnNaNLoss`: no update by the gradients of a loss that is not finite, nor, on request, by such gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any

import torch
from torch.nn.parameter import is_lazy
from treadle import AbstractTrainingPhase, Callback, Permission, Read
from treadle.authoring import DeviceNumber, models_by_name, named_tensors, one_of, update_under_way
from treadle.errors import ArgumentTypeError, CancelFittingException, LossError

#: How many parameters or buffers a message names.
SHOWN = 5


class NonFiniteLoss(CancelFittingException):
    """`StopOnNaNLoss` ended the fit. The message says why.

    Attributes:
        value: The loss: NaN, Inf or -Inf.

    Example:
        >>> from treadle import toy_learner
        >>> batch = (torch.ones(8, 1), torch.full((8, 1), torch.nan))
        >>> stop = toy_learner(StopOnNaNLoss()).fit(1, ([batch],)).cancelled
        >>> isinstance(stop, NonFiniteLoss), stop.value
        (True, nan)
    """

    def __init__(self, message: str, value: float) -> None:
        super().__init__(message, value)
        self.value = value

    def __str__(self) -> str:
        return str(self.args[0])


class NonFiniteGradients(CancelFittingException):
    """`StopOnNaNLoss(gradients=True)` ended the fit. The message says why.

    Attributes:
        names: The parameters whose gradients are not finite.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner(StopOnNaNLoss(gradients=True))
        >>> learner.lossfn = lambda yhats, ys: (yhats - yhats).abs().sqrt().sum()  # 0, with a gradient of NaN
        >>> stop = learner.fit(1).cancelled
        >>> isinstance(stop, NonFiniteGradients), stop.names
        (True, ['weight'])
    """

    def __init__(self, message: str, names: list[str]) -> None:
        super().__init__(message, names)
        self.names = names

    def __str__(self) -> str:
        return str(self.args[0])


class StopOnNaNLoss(Callback):
    """Stop the fit when a training loss is NaN, Inf or -Inf, before the weights are changed by it.

    The loss is looked at after the backward pass and before the update, in every training phase. On CUDA its
    copy to the host is queued before the backward pass and is all that is waited for, so that the device has
    work all the while. So is the loss of a backward pass that a callback performs by itself, as `SAM` does for its
    second pass. One of the default callbacks.

    It is a guard: a training phase whose steps have no such loss, or do not dispatch `BackwardBegin` and
    `BackwardEnd`, is refused when its first step has ended. A phase of your own that names its losses
    differently, as a GAN's does, is guarded by one of these callbacks for each name.

    It stops before the update, so the loss itself never reaches the parameters. What came before it did: the forward
    pass has updated buffers, such as BatchNorm's statistics, and a finite loss can have had gradients that are not
    finite. When it stops, it looks, and the message names the parameters and buffers that are not finite.

    With `gradients=True` it looks at the gradients as well, at `UpdateBegin`, where they are whole and clipped, and
    stops before an update by some that are not finite. On CUDA that waits for the backward pass at each update, since
    nobody knows them earlier. Beside a callback that skips such updates, as `MixedPrecision("fp16")` does, they are
    left to that one.

    Args:
        loss: The loss's name in the step's state. Default: "loss".
        gradients: Whether to look at the gradients of each update as well, whatever loss it is by. Default: False.

    Reads:
        `step.loss`, or the entry of `step` that `loss` names; when it stops, `model`; for `gradients=True`, `params`
        and `callbacks`.

    Raises:
        NonFiniteLoss: when it stops; `fit` returns it as `FitResult.cancelled`.
        NonFiniteGradients: likewise, when it stops by the gradients.
        ArgumentTypeError: if `loss` is not a name.
        ArgumentValueError: if `gradients` is neither True nor False.
        LossError: in a step, if the loss is not one real number.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner(StopOnNaNLoss())
        >>> good, bad = torch.ones(8, 1), torch.full((8, 1), torch.inf)
        >>> result = learner.fit(1, ([(good, good), (bad, good), (good, good)],))
        >>> result.steps, result.cancelled.value, learner.model.weight.item()
        (1, inf, 0.0010000000474974513)
    """

    guard = True
    every_backward = True

    def __init__(self, loss: str = "loss", *, gradients: bool = False) -> None:
        if not (isinstance(loss, str) and loss.isidentifier()):
            raise ArgumentTypeError(
                f"StopOnNaNLoss(loss) must be the name of a loss in `step`, got {loss!r}.\n"
                f'Fix: write, for example:\n    StopOnNaNLoss("generator_loss")'
            )
        self.loss, self.gradients = loss, one_of(gradients, "StopOnNaNLoss(gradients)", (True, False))
        if not gradients:
            vars(self).update(on_init=None, on_update_begin=None)  # it handles neither
        self._leaves_gradients = False  # to a callback that skips updates by such
        self._loss_of = attrgetter(f"step.{loss}")
        self._on_host = False  # whether the last loss was; then there is nothing to start for the next
        self._started: tuple[torch.Tensor, DeviceNumber] | None = None

    @property
    def state_access(self) -> Mapping[str, type[Permission]]:  # type: ignore[override]
        """The loss is read, whatever its name; and the model, in the message."""
        of_gradients = {"params": Read, "callbacks": Read} if self.gradients else {}
        return {f"step.{self.loss}": Read, "model": Read, **of_gradients}

    def on_init(self, learner: Any) -> None:
        self._leaves_gradients = any(callback.skips_updates for callback in learner.callbacks)

    def on_backward_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        if self._on_host or self.loss not in learner.step:
            return
        loss = self._loss_of(learner)
        if isinstance(loss, torch.Tensor) and not loss.is_cpu:
            self._started = loss, DeviceNumber(loss)

    def on_backward_end(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        try:
            loss = self._loss_of(learner)
            on_host = self._on_host = loss.is_cpu
        except AttributeError:  # no such loss, or a plain number
            if self.loss not in learner.step:
                return
            loss, on_host = self._loss_of(learner), True
        try:
            value = (loss.item() if isinstance(loss, torch.Tensor) else float(loss)) if on_host else self._value(loss)
            finite = math.isfinite(value)
        except (TypeError, ValueError, RuntimeError) as error:
            got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else repr(loss)
            raise LossError(
                f"StopOnNaNLoss guards `step.{self.loss}`, which is not one real number: {got}.\n"
                f"Fix: keep the number that is minimised there:\n    state.{self.loss} = losses.mean()"
            ) from error
        if not finite:
            raise NonFiniteLoss(stopped(self.loss, value, learner.model), value)

    def on_update_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        if self._leaves_gradients:
            return
        gradients = dict(named_tensors(update_under_way(learner).grads(learner)))
        if not are_finite(gradients.values()):
            names = not_finite([("", gradients.items())])
            raise NonFiniteGradients(
                f"The gradients of {listed(names)} are not finite. Training stopped before the update, so the "
                f"parameters are as the update before left them.",
                names,
            )

    def _value(self, loss: torch.Tensor) -> float:
        """The loss as a number, of the copy that was started if it was of this tensor."""
        started, self._started = self._started, None
        number = started[1] if started is not None and started[0] is loss else DeviceNumber(loss)
        return number.value


def stopped(loss: str, value: float, model: Any) -> str:
    """Why training stopped, and what of the model is not finite."""
    models = models_by_name(model)
    parameters = not_finite((name, module.named_parameters()) for name, module in models.items())
    buffers = not_finite((name, module.named_buffers()) for name, module in models.items())
    message = f"The training {loss} is {value}. Training stopped before the update, so "
    if parameters:
        message += (
            f"it did not reach the parameters; but {listed(parameters)} were not finite before it: gradients were "
            f"not, in a step whose loss was. StopOnNaNLoss(gradients=True) stops before such an update."
        )
    else:
        message += "the parameters are as the step before left them, and finite."
    if buffers:
        message += f" The forward pass has updated buffers, and {listed(buffers)} are not finite."
    return message


def are_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether tensors hold finite numbers only; one number of each device is waited for."""
    largest: dict[torch.device, list[torch.Tensor]] = {}
    for tensor in tensors:
        if tensor.is_sparse:
            tensor = tensor.coalesce().values()
        if tensor.numel():
            largest.setdefault(tensor.device, []).append(torch.linalg.vector_norm(tensor.detach(), math.inf).double())
    return all(math.isfinite(torch.stack(norms).max().item()) for norms in largest.values())


def not_finite(tensors: Iterable[tuple[str, Iterable[tuple[str, torch.Tensor]]]]) -> list[str]:
    """The names of the tensors that hold something that is not finite, with the names of their models in front."""
    return [
        f"{model}.{name}" if model else name
        for model, named in tensors
        for name, tensor in named
        if not is_lazy(tensor) and not torch.isfinite(tensor.detach()).all()
    ]


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"`{name}`" for name in names[:SHOWN]) + more
