"""The objective: what `train` computes of a data point, and what a loss or a callback may say to the loop."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from treadle import AbstractTrainingPhase, CancelFittingException, CancelStepException, run_step, run_update
from treadle.authoring import function
from treadle.errors import LossError
from treadle.operations import Accumulate


class DomainError(LossError):
    """The loss of a data point is NaN, Inf or -Inf; the parameters are as the data point before left them.

    Attributes:
        loss: The loss.
        step: Number of the data point, from 1.

    Example:
        >>> from treadle_flux import train
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> data = [torch.ones(1), torch.tensor([torch.inf])]
        >>> train(lambda model, x: model(x).abs().sum(), model, data, optimizer)
        Traceback (most recent call last):
        ...
        treadle_flux.objective.DomainError: The loss is inf on data point 2, so the parameters were not updated.
        ...
    """

    def __init__(self, loss: float, step: int) -> None:
        super().__init__(
            f"The loss is {loss} on data point {step}, so the parameters were not updated.\n"
            f"Fix: look at that data point, lower the learning rate, or go on with the next one:\n"
            f"    treadle_flux.skip()  # in the loss function"
        )
        self.loss, self.step = loss, step


def stop(reason: str = "stop() was called") -> NoReturn:
    """End the `train` under way, from a callback or from the loss function; `train` returns it as `.cancelled`.

    Example:
        >>> from treadle_flux import train
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> train(lambda model, x: model(x).sum(), model, [torch.ones(1)] * 3, optimizer, cb=stop)
        FitResult(epochs=0, steps=1, cancelled=CancelFittingException('stop() was called'))
    """
    raise CancelFittingException(reason)


def skip(reason: str = "skip() was called") -> NoReturn:
    """Go on with the next data point: from the loss function without an update, from a callback without those after it.

    A data point that its loss function skips does not count as a step.

    Example:
        >>> from treadle_flux import train
        >>> model = torch.nn.Linear(1, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def loss(model, x):
        ...     return model(x).sum() if x > 0 else skip()
        >>> train(loss, model, [torch.ones(1), -torch.ones(1)], optimizer).steps
        1
    """
    raise CancelStepException(reason)


class ObjectivePhase(AbstractTrainingPhase):
    """Train by an objective: the learner's `lossfn` is called with the model and the data point.

    It is the phase of `train`, for learners that have more than `train` takes: callbacks, checkpoints, epochs that are
    counted. A data point that is a tuple or a list is passed item by item.

    The step has `xs`, and for a pair `ys`; `accumulating`; `loss`; `grads`. Its events are `StepBegin`, those of an
    update from `BackwardBegin` to `UpdateEnd`, and `StepEnd`. There is no `yhats` and no operation `forward` or `loss`,
    since only the objective knows them.

    Example:
        >>> from treadle import Learner
        >>> def objective(model, x, y):
        ...     return (model(x) - y).square().mean()
        >>> model, x = torch.nn.Linear(1, 1), torch.linspace(-1, 1, 8).reshape(-1, 1)
        >>> learner = Learner(model, objective, data=([(x, 2 * x)],), use_default_callbacks=False)
        >>> learner.fit(3, phases=[ObjectivePhase()])
        FitResult(epochs=3, steps=3, cancelled=None)
    """

    def step(self, learner: Any, batch: Any) -> None:
        """Train with a data point."""
        items = isinstance(batch, tuple | list)
        initial = {"xs": batch[0], "ys": batch[1]} if items and len(batch) == 2 else {"xs": batch}
        with run_step(learner, self, **initial) as (handle, state):
            state.accumulating = handle(Accumulate)
            xs = state.xs  # which a callback may have changed
            point = (xs, state.ys) if len(initial) == 2 else tuple(xs) if items else (xs,)
            state.loss = self.objective(learner, point)
            run_update(learner, self)

    def objective(self, learner: Any, point: tuple[Any, ...]) -> torch.Tensor:
        """The loss of a data point."""
        return loss_of(learner.lossfn, (learner.model, *point))


def loss_of(loss: Any, arguments: tuple[Any, ...]) -> torch.Tensor:
    """What a loss function returns, which is one number in a tensor.

    Raises:
        LossError: if it is not.
        ArgumentTypeError: if the function does not take these arguments.
    """
    try:
        value = loss(*arguments)
    except TypeError:
        takes = [type(argument).__name__ for argument in arguments]
        function(loss, "The loss function", EXAMPLES, takes=takes)
        raise
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value
    got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else repr(value)
    raise LossError(
        f"The loss function returned {got:.200}; a loss is one number in a tensor.\n"
        f"Fix: reduce it, for example by its mean:\n    return losses.mean()"
    )


EXAMPLES = """\
train(lambda x, y: mse(model(x), y), params(model), [(x, y)], optimizer)
    train(lambda model, x, y: mse(model(x), y), model, [(x, y)], optimizer)"""
