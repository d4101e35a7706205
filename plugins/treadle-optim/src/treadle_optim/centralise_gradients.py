"""`CentraliseGradients`: gradients without their mean."""

from __future__ import annotations

from typing import Any

from treadle import AbstractTrainingPhase, Callback, Read, Write
from treadle.authoring import update_under_way

from treadle_optim.unusual_gradients import refused_if_unusual


class CentraliseGradients(Callback):
    """Subtract from the gradients of each unit, in each update, their mean.

    A unit is a row of a matrix, or a filter of a convolution; vectors, such as biases, are left as they are. It handles
    `UpdateBegin`, where the gradients are whole, and comes before `ClipGradients`. It is a guard: a training phase
    that has no `UpdateBegin` is refused.

    Reads: `optimizer`, for its parameters.
    Writes: `step.grads`.

    Raises:
        CallbackError: in a step, if a gradient is sparse.

    Source: Yong et al., "Gradient Centralization: A New Optimization Technique for Deep Neural Networks",
    https://arxiv.org/abs/2004.01461, equation 1.

    Example:
        >>> import torch
        >>> from treadle import CustomCallback, Learner, Read, UpdateEnd
        >>> show = CustomCallback(lambda learner: print(learner.step.grads["weight"].sum().abs().item() < 1e-5),
        ...                       UpdateEnd, state_access={"step.grads": Read})
        >>> batch = torch.rand(8, 3), torch.rand(8, 1)
        >>> learner = Learner(torch.nn.Linear(3, 1), torch.nn.MSELoss(), data=([batch],), use_default_callbacks=False,
        ...                   callbacks=[CentraliseGradients(), show])
        >>> result = learner.fit(1)
        True
    """

    guard = True
    state_access = {"step.grads": Write, "optimizer": Read}

    def on_update_begin(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        parameters = update_under_way(learner).parameters(learner)
        with refused_if_unusual(self, parameters):
            for parameter in parameters:
                gradient = parameter.grad
                if gradient is not None and gradient.ndim > 1:
                    gradient.sub_(gradient.mean(dim=tuple(range(1, gradient.ndim)), keepdim=True))
