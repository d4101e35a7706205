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
from treadle.errors import ArgumentValueError
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
        self._run: dict[Any, Callable[..., Any]] = {}  # a function for each shape of the batches
        self._names: list[str] = []  # of the parameters of the optimizer
        self._trained: list[int] = []  # their places among these
        self._kept = self.parameters()
        self._needs = list(map(needs_gradient, self._kept))
        self._parts = self._made_of()
        self._buffers: list[torch.Tensor] = []
        self._rates: list[tuple[float | None, torch.Tensor]] = [
            (None, torch.tensor(0.0)) for _ in optimizer.param_groups
        ]

    def parameters(self) -> list[nn.Parameter]:
        """Those of the optimizer, in its order."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def trainable(self) -> tuple[str, ...]:
        """The names of the parameters that need a gradient."""
        return tuple(name for name, parameter in self.module.named_parameters() if parameter.requires_grad)

    def is_current(self, *, whole: bool) -> bool:
        """Whether the optimizer has the same parameters as when the unit was made, and the same need gradients.

        Args:
            whole: Whether to look at the layers of the model as well.
        """
        parameters = self.parameters()
        if len(parameters) != len(self._kept) or not all(map(operator.is_, parameters, self._kept)):
            return False
        if list(map(needs_gradient, parameters)) != self._needs:
            return False
        return not whole or self._made_of() == self._parts

    def _made_of(self) -> list[int]:
        """The modules, parameters and buffers, and which of them have a gradient, as numbers to compare."""
        module = self.module
        parameters = list(module.parameters())
        listed = [*module.modules(), *parameters, *module.buffers()]
        return [*map(id, listed), *(int(parameter.requires_grad) for parameter in parameters)]

    def refuse_unfit(self) -> None:
        """Refuse parameters whose gradients a unit would not compute as a step that is written does."""
        named = dict(self.module.named_parameters())
        known = {id(parameter) for parameter in named.values()}
        held = {id(parameter) for parameter in self.parameters()}
        others = sum(identity not in known for identity in held)
        if others:
            raise ArgumentValueError(
                f"CompiledStep does not find {others} of the optimizer's parameters in the model, nor in a loss "
                f"function that is a torch.nn.Module.\nFix: make what holds them a part of one of these; or compile "
                f"the model alone:\n    Compile()"
            )
        hooked = [name for name, parameter in named.items() if has_hooks(parameter)]
        if hooked:
            raise ArgumentValueError(
                f"CompiledStep does not call hooks of gradients, and {', '.join(hooked)} has some.\n"
                f"Fix: compile the model alone:\n    Compile()"
            )
        apart = [name for name, parameter in named.items() if parameter.requires_grad and id(parameter) not in held]
        if apart and self.wants_grads:
            raise ArgumentValueError(
                f"CompiledStep computes the gradients of the optimizer's parameters alone; {', '.join(apart)} would "
                f"have one as well in a step that is not compiled, and a callback looks at gradients.\n"
                f"Fix: freeze what is not trained:\n    parameter.requires_grad_(False)"
            )

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
        """Let the step be that of these parameters and buffers; it is compiled when it is first called."""
        if known is self.known:
            return
        self.known = known
        places = {id(parameter): i for i, parameter in enumerate(self.parameters())}
        named, buffers = dict(self.module.named_parameters()), dict(self.module.named_buffers())
        self._buffers = [buffers[name] for name in known.changed]
        trained = [name for name in known.trained if id(named[name]) in places]
        self._trained = [places[id(named[name])] for name in trained]
        self._names = trained

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
        assert self.known is not None
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
        key = self.known, signature((xs, ys, states, self.module.training))
        run = self._run.get(key)
        with torch.no_grad(), torch.compiler.set_stance("default" if run is None else "fail_on_recompile"):
            if run is None:
                run = torch.compile(self._function(self._names, list(self.known.changed)), **self.options)
            values = run(parameters, states, settings, sizes, rates, self._buffers, xs, ys)
            self._run[key] = run
            result = Result(self, *values)
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


def has_hooks(parameter: nn.Parameter) -> bool:
    """Whether somebody is called with a parameter's gradient."""
    return bool(parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None))


def signature(value: Any) -> Any:
    """What a function is compiled for: the shapes and types of tensors, in the order in which they stand."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.dtype, value.stride(), value.device
    if isinstance(value, Mapping):
        return tuple((name, signature(entry)) for name, entry in value.items())
    if isinstance(value, (tuple, list)):
        return tuple(map(signature, value))
    return type(value)


#: What of a parameter group is passed by itself.
OTHER = ("params", "lr")
