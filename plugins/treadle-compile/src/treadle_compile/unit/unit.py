"""`Unit`: forward pass, loss, gradients and the optimizer's step as one compiled function that changes nothing."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from treadle.authoring import map_tensors

from treadle_compile.unit.conditions import with_fewer_conditions
from treadle_compile.unit.cuda_graphs import records
from treadle_compile.unit.direct import Direct, direct
from treadle_compile.unit.function import ModelAndLoss, step_function
from treadle_compile.unit.known import Known
from treadle_compile.unit.result import Result
from treadle_compile.unit.signature import signature

needs_gradient = operator.attrgetter("requires_grad")


class Unit:
    """A training step of one model, compiled.

    Args:
        options: Those of `torch.compile`.
        updates: Whether the optimizer's step is a part of it.
        wants_grads: Whether it returns the gradients.

    Attributes:
        trained: The parameters of the optimizer that get a gradient.
        calls: How often it has been called.
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
        self._recorded = records(options)
        self.known: Known | None = None
        self.calls = 0
        self.trained: list[nn.Parameter] = []
        self._places: dict[str, int] = {}  # where each of these stands among those of the optimizer, by name
        self._compiled: dict[Any, Callable[..., Any]] = {}  # a function for each shape of the batches
        self._direct: list[Direct] = []  # what torch has made of those of `known`, the last that fitted first
        self._direct_of: dict[Known, list[Direct]] = {}
        self._sizes = [len(group["params"]) for group in optimizer.param_groups]
        self._kept = self.parameters()
        self._needs = list(map(needs_gradient, self._kept))
        self._parts = self._made_of()
        self._buffers: list[torch.Tensor] = []
        self._states: list[dict[str, Any]] = []  # of the parameters, as long as `_listed` are those of the optimizer
        self._listed: list[dict[str, Any]] | None = None
        self._rates: list[tuple[float | None, torch.Tensor]] = [
            (None, torch.tensor(0.0)) for _ in optimizer.param_groups
        ]

    def parameters(self) -> list[nn.Parameter]:
        """Those of the optimizer, in its order."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def is_current(self, *, whole: bool) -> bool:
        """Whether the optimizer has the same parameters as when the unit was made, and the same need gradients.

        Args:
            whole: Whether to look at the layers of the model as well.
        """
        parameters = self.parameters()
        if not same(parameters, self._kept) or list(map(needs_gradient, parameters)) != self._needs:
            return False
        if [len(group["params"]) for group in self.optimizer.param_groups] != self._sizes:
            return False
        return not whole or self._made_of() == self._parts

    def _made_of(self) -> list[int]:
        """The modules, parameters and buffers, and which of them have a gradient, as numbers to compare."""
        module = self.module
        parameters = list(module.parameters())
        listed = [*module.modules(), *parameters, *module.buffers()]
        return [*map(id, listed), *(int(parameter.requires_grad) for parameter in parameters)]

    def use(self, known: Known) -> None:
        """Let the step be that of these parameters and buffers; it is compiled when it is first called."""
        if known == self.known:
            return
        self.known = known
        places = {id(parameter): i for i, parameter in enumerate(self._kept)}
        named, buffers = dict(self.module.named_parameters()), dict(self.module.named_buffers())
        self._buffers = [buffers[name] for name in known.changed]
        self._places = {name: places[id(named[name])] for name in known.trained if id(named[name]) in places}
        self.trained = [self._kept[i] for i in self._places.values()]
        self._direct = self._direct_of.setdefault(known, [])

    def run_again(self, xs: Any, ys: Any) -> Result | None:
        """Compute a step as one before it was computed; None if what torch has compiled is not for this one."""
        if not self._direct:
            return None
        arguments = *self._arguments(), xs, ys
        if self._recorded:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for i, run in enumerate(self._direct):
                if run.fits(*arguments):
                    if i:
                        self._direct.insert(0, self._direct.pop(i))
                    return self._result(run(*arguments))
        return None

    def run(self, xs: Any, ys: Any) -> Result:
        """Compute a step; buffers are changed, as a forward pass changes them, and nothing else.

        Raises:
            RuntimeError: of torch, if what has been compiled for batches like this one is of another step.
        """
        assert self.known is not None
        arguments = *self._arguments(), xs, ys
        if self._recorded:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        key = self.known, signature((xs, ys, self._states, self.module.training))
        run = self._compiled.get(key)
        with torch.no_grad(), torch.compiler.set_stance("default" if run is None else "fail_on_recompile"):
            if run is None:
                changed, updates, grads = self.known.changed, self.updates, self.wants_grads
                function = step_function(
                    self.module, self.optimizer, self._places, changed, updates=updates, wants_grads=grads
                )
                run = torch.compile(function, **with_fewer_conditions(self.options))
                values = run(*arguments)
                self._compiled[key] = run
                if (made := direct(function)) is not None:
                    self._direct.insert(0, made)
            else:
                values = run(*arguments)
            return self._result(values)

    def _result(self, values: Sequence[Any]) -> Result:
        if self._recorded:  # the next step is computed in the same memory, and callbacks may keep these
            loss, yhats, buffers, grads, *new = values
            values = loss.clone(), map_tensors(torch.clone, yhats), buffers, [grad.clone() for grad in grads], *new
        result = Result(self.trained, self.optimizer, *values)
        if self._buffers:
            torch._foreach_copy_(self._buffers, result.buffers)
        self.calls += 1
        return result

    def _arguments(self) -> tuple[Any, ...]:
        """What a unit takes beside the batch."""
        optimizer = self.optimizer
        groups: list[Any] = optimizer.param_groups
        if not self.updates:
            return self._kept, [], [], [], self._buffers
        listed = list(optimizer.state.values())
        if self._listed is None or not same(listed, self._listed):
            self._states = [optimizer.state.get(parameter, {}) for parameter in self._kept]
            self._listed = listed
        rates = [self._rate(i, group["lr"], group["params"]) for i, group in enumerate(groups)]
        return self._kept, self._states, groups, rates, self._buffers

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


def same(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Whether these are the same objects."""
    return len(first) == len(second) and all(map(operator.is_, first, second))
