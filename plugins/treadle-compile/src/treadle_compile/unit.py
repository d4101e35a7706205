"""`Unit`: forward pass, loss, gradients and the optimizer's step as one compiled function that changes nothing."""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.func import functional_call, grad_and_value
from torch.optim import Optimizer
from treadle.operations import carried_loss

from treadle_compile.plain_optimizer import State, plain_class, step_of

needs_gradient = operator.attrgetter("requires_grad")


class ModelAndLoss(nn.Module):
    """A model and its loss function, whose parameters it has as well."""

    def __init__(self, model: nn.Module, lossfn: Any) -> None:
        super().__init__()
        self.model, self.lossfn = model, lossfn

    def forward(self, xs: Any, ys: Any) -> tuple[torch.Tensor, Any]:
        if isinstance(xs, torch.Tensor):
            yhats = self.model(xs)
        elif isinstance(xs, (tuple, list)):
            yhats = self.model(*xs)
        else:
            yhats = self.model(**xs) if isinstance(xs, Mapping) else self.model(xs)
        loss = carried_loss(yhats) if self.lossfn is None else self.lossfn(yhats, ys)
        return loss, yhats


class Known(NamedTuple):
    """What a step as it is written has shown, by names.

    Attributes:
        trainable: The parameters that need a gradient.
        trained: Those that got one.
        changed: The buffers that the forward pass changed.
    """

    trainable: tuple[str, ...]
    trained: tuple[str, ...]
    changed: tuple[str, ...]


class Result:
    """What one call of a unit has computed; nothing of it is in the learner until it is committed.

    Attributes:
        grads: The gradients of the parameters that are trained, if they are wanted.
        values: The parameters of the optimizer after its step, if that is a part of the unit.
        states: Their states.
        committed: Whether it is in the learner.
    """

    __slots__ = ("buffers", "committed", "grads", "loss", "states", "unit", "values", "yhats")

    def __init__(
        self,
        unit: Unit,
        loss: torch.Tensor,
        yhats: Any,
        buffers: list[torch.Tensor],
        grads: Sequence[torch.Tensor],
        values: Sequence[torch.Tensor],
        states: Sequence[State],
    ) -> None:
        self.unit, self.loss, self.yhats, self.buffers = unit, loss, yhats, buffers
        self.grads, self.values, self.states, self.committed = grads, values, states, False


class Unit:
    """A training step of one model, compiled.

    Args:
        options: Those of `torch.compile`.
        updates: Whether the optimizer's step is a part of it.
        wants_grads: Whether it returns the gradients.
    """

    def __init__(
        self,
        model: nn.Module,
        lossfn: Any,
        optimizer: Optimizer,
        options: Mapping[str, Any],
        *,
        updates: bool,
        wants_grads: bool,
    ) -> None:
        self.model, self.lossfn, self.optimizer = model, lossfn, optimizer
        self.updates, self.wants_grads = updates, wants_grads
        self.module, self.options = ModelAndLoss(model, lossfn), options
        self.known: Known | None = None
        self.calls = 0
        self._run: Callable[..., Any] | None = None
        self._names: list[str] = []  # of the parameters of the optimizer
        self._trained: list[int] = []  # their places among these
        self._needs: list[bool] = []
        self._buffers: list[torch.Tensor] = []
        self._rates: list[tuple[float | None, torch.Tensor]] = []

    def parameters(self) -> list[nn.Parameter]:
        """Those of the optimizer, in its order."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def trainable(self) -> tuple[str, ...]:
        """The names of the parameters that need a gradient."""
        return tuple(name for name, parameter in self.module.named_parameters() if parameter.requires_grad)

    def is_current(self) -> bool:
        """Whether the same parameters need gradients as when the unit was made."""
        return list(map(needs_gradient, self.parameters())) == self._needs

    def set_gradients(self, result: Result) -> None:
        """Let the parameters have the gradients that the unit has computed."""
        parameters = self.parameters()
        for i, grad in zip(self._trained, result.grads, strict=True):
            parameters[i].grad = grad

    # Learning from a step as it is written.

    def versions(self) -> dict[str, int]:
        """How often each buffer was changed."""
        return {name: buffer._version for name, buffer in self.module.named_buffers()}

    def learn(self, before: Mapping[str, int]) -> Known:
        """Take what a step has shown: its gradients are there, and `before` it the buffers had these versions."""
        named = dict(self.module.named_parameters())
        return Known(
            self.trainable(),
            tuple(name for name, parameter in named.items() if parameter.grad is not None),
            tuple(name for name, version in self.versions().items() if version != before.get(name)),
        )

    # The compiled function.

    def use(self, known: Known) -> None:
        """Compile the step of these parameters and buffers, when it is first called."""
        self.known = known
        places = {id(parameter): i for i, parameter in enumerate(self.parameters())}
        named, buffers = dict(self.module.named_parameters()), dict(self.module.named_buffers())
        self._buffers = [buffers[name] for name in known.changed]
        trained = [name for name in known.trained if id(named[name]) in places]
        self._trained = [places[id(named[name])] for name in trained]
        self._needs = [parameter.requires_grad for parameter in self.parameters()]
        self._rates = [(None, torch.tensor(0.0)) for _ in self.optimizer.param_groups]
        self._run = torch.compile(self._function(trained, list(known.changed)), **self.options)

    def _function(self, trained: list[str], changed: list[str]) -> Callable[..., Any]:
        module, updates, wants_grads, places = self.module, self.updates, self.wants_grads, self._trained
        cls, defaults = plain_class(type(self.optimizer)), dict(self.optimizer.defaults)

        def unit(
            values: list[torch.Tensor],
            states: list[State],
            groups: list[dict[str, Any]],
            sizes: list[int],
            rates: list[torch.Tensor],
            buffers: list[torch.Tensor],
            xs: Any,
            ys: Any,
        ) -> Any:
            def loss_of(part: list[torch.Tensor]) -> Any:
                copies = [buffer.clone() for buffer in buffers]
                replaced = dict(zip(trained, part, strict=True)) | dict(zip(changed, copies, strict=True))
                loss, yhats = functional_call(module, replaced, (xs, ys))
                return loss.reshape(()), (loss, yhats, copies)

            grads, (_, (loss, yhats, copies)) = grad_and_value(loss_of, has_aux=True)([values[i] for i in places])
            new: Any = []
            new_states: Any = []
            if updates:
                of_all: list[Any] = [None] * len(values)
                for i, grad in zip(places, grads, strict=True):
                    of_all[i] = grad
                new, new_states = step_of(cls, defaults, groups, sizes, rates, values, of_all, states)
            return loss, yhats, copies, grads if wants_grads else [], new, new_states

        # What torch has compiled, and how often, it keeps with the code: each unit has its own.
        code = unit.__code__.replace()
        return types.FunctionType(code, unit.__globals__, unit.__name__, None, unit.__closure__)

    def run(self, xs: Any, ys: Any) -> Result:
        """Compute a step; buffers are changed, as a forward pass changes them, and nothing else."""
        assert self._run is not None
        optimizer = self.optimizer
        parameters: list[Any] = self.parameters()
        groups: list[Any] = optimizer.param_groups
        settings, sizes, rates, states = [], [], [], []
        if self.updates:
            settings = [{name: value for name, value in group.items() if name not in OTHER} for group in groups]
            sizes = [len(group["params"]) for group in groups]
            rates = [self._rate(i, group["lr"], group["params"]) for i, group in enumerate(groups)]
            states = [
                dict(optimizer.state[parameter]) if parameter in optimizer.state else {} for parameter in parameters
            ]
        with torch.no_grad():
            result = Result(self, *self._run(parameters, states, settings, sizes, rates, self._buffers, xs, ys))
            if self._buffers:
                torch._foreach_copy_(self._buffers, result.buffers)
        self.calls += 1
        return result

    def _rate(self, i: int, rate: Any, params: Sequence[torch.Tensor]) -> torch.Tensor:
        """A learning rate as a tensor, which is made anew only where it is another one."""
        if isinstance(rate, torch.Tensor):
            return rate
        value, tensor = self._rates[i]
        if value != rate:
            device = params[0].device if params and params[0].is_cuda else None
            tensor = torch.tensor(rate, dtype=torch.float64, device=device)
            self._rates[i] = rate, tensor
        return tensor

    def commit(self, result: Result) -> None:
        """Let the parameters, and their states, be what the unit has computed."""
        old: list[torch.Tensor] = []
        new: list[torch.Tensor] = []
        with torch.no_grad():
            parameters = self.parameters()
            for i in self._trained:
                old.append(parameters[i])
                new.append(result.values[i])
                if result.states[i]:
                    state = self.optimizer.state[parameters[i]]
                    for name, value in result.states[i].items():
                        kept = state.get(name)
                        if isinstance(kept, torch.Tensor) and isinstance(value, torch.Tensor):
                            old.append(kept)
                            new.append(value)
                        else:
                            state[name] = value
            torch._foreach_copy_(old, new)
        result.values, result.states, result.committed = (), (), True


#: What of a parameter group is passed by itself.
OTHER = ("params", "lr")
