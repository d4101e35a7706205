"""`LogHistograms`: log how weights, gradients and activations are distributed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from treadle import AbstractTrainingPhase, Learner, Read, hookimpl
from treadle.authoring import by_name, one_of, update_under_way

from treadle_logging.backend import LoggerBackend
from treadle_logging.loggable import Histogram
from treadle_logging.logger import StepLogger
from treadle_logging.outlet import Entry


class LogHistograms(StepLogger):
    """Log histograms of the weights after a step, and on request of gradients and activations.

    The tags are `Step/Histograms/Weights/<parameter>`, `Step/Histograms/Gradients/<parameter>` and
    `Step/Histograms/Activations/<layer>`; with several models, a model's name stands before the
    parameter's. Only the steps that are logged wait for the device.

    Gradients are logged at `UpdateBegin`, where they are whole, for the updates of the steps that are logged; of a
    phase that makes no updates, as they are at the end of the step.

    Args:
        *backends: Where to log.
        freq: Every how many training steps, beginning with the first; None means every step. Default: 100.
        gradients: Whether to log the gradients of the update as well. Default: False.
        activations: Whether to log the output of each layer in the step, where it is a float tensor.
            Default: False.
        strict: Whether a backend that fails ends the training. Default: False.

    Reads: `params`, `cbstate.history`; for the gradients `step`; for the activations `model`.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_logging import LoggerBackend
        >>> from treadle_metrics import Recorder
        >>> class Lines(LoggerBackend):
        ...     def log(self, loggable, name, i, group):
        ...         print(i, self.tag(name, group))
        >>> _ = toy_learner(Recorder(), LogHistograms(Lines(), freq=2, gradients=True), nbatches=4).fit(1)
        1 Step/Histograms/Gradients/weight
        1 Step/Histograms/Weights/weight
        3 Step/Histograms/Gradients/weight
        3 Step/Histograms/Weights/weight
    """

    state_access = {"params": Read, "cbstate.history": Read}
    run_after = ("recorder",)

    step: Callable[..., Any]  # an operation that is wrapped only where activations are asked for

    def __init__(
        self,
        *backends: LoggerBackend,
        freq: int | None = 100,
        gradients: bool = False,
        activations: bool = False,
        strict: bool = False,
    ) -> None:
        super().__init__(*backends, freq=freq, strict=strict)
        for option, value in (("gradients", gradients), ("activations", activations)):
            one_of(value, f"{self.name}({option})", (True, False))
        self.gradients, self.activations = gradients, activations
        self._outputs: dict[str, torch.Tensor] = {}
        if gradients:
            self.state_access = {**self.state_access, "step": Read}
        else:
            vars(self)["on_update_begin"] = None  # it does not handle it
        if activations:
            self.state_access = {**self.state_access, "model": Read}
            self.step = self._step_wrapper()

    def on_update_begin(self, learner: Learner, phase: AbstractTrainingPhase) -> None:
        target = update_under_way(learner)
        under_way = target.loss in learner.step  # else the update completes an epoch, after its last step
        steps = learner.cbstate.history[phase].steps + under_way
        if any(self.is_due(steps - i) for i in range(max(1, learner.progress.accumulated))):
            self.send(self._entries({"Gradients": target.grads(learner)}, steps))

    def on_step_end(self, learner: Learner, phase: AbstractTrainingPhase) -> None:
        steps = learner.cbstate.history[phase].steps
        if not self.is_due(steps):
            return
        kinds: dict[str, Mapping[str, Any]] = {"Weights": learner.params}
        if self.gradients and "accumulating" not in learner.step:  # a phase that makes no updates
            kinds["Gradients"] = update_under_way(learner).grads(learner)
        if self._outputs:
            kinds["Activations"] = self._outputs
        self.send(self._entries(kinds, steps))

    def _entries(self, kinds: Mapping[str, Mapping[str, Any]], steps: int) -> Iterator[Entry]:
        for kind, tensors in kinds.items():
            for name, tensor in flat(tensors):
                if tensor.is_sparse:
                    tensor = tensor.coalesce().values()
                if tensor.is_complex():
                    tensor = torch.view_as_real(tensor)
                if tensor.numel():
                    yield Histogram(tensor), name, steps, ("Step", "Histograms", kind)

    def _step_wrapper(self) -> Callable[..., Any]:
        @hookimpl(wrapper=True)
        def step(learner: Learner, phase: AbstractTrainingPhase) -> Iterator[Any]:
            if not self.is_due(learner.cbstate.history[phase].steps + 1):
                return (yield)
            with collected_outputs(learner.model) as self._outputs:
                try:
                    return (yield)
                finally:
                    self._outputs = {}

        return step


def flat(tensors: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a mapping and of the mappings in it, their names joined by `/`."""
    for name, value in tensors.items():
        if isinstance(value, Mapping):
            for inner, tensor in flat(value):
                yield f"{name}/{inner}", tensor
        elif isinstance(value, torch.Tensor):
            yield name, value


@contextmanager
def collected_outputs(model: torch.nn.Module | Mapping[str, torch.nn.Module]) -> Iterator[dict[str, torch.Tensor]]:
    """While it is open, collect the last output of every layer (a module without modules) of one or several models.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
        >>> with collected_outputs(net) as outputs:
        ...     _ = net(torch.ones(1, 2))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'0': (1, 3), '1': (1, 3)}
    """
    outputs: dict[str, torch.Tensor] = {}

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # a compiled model runs as written there
    def keep(name: str, layer: torch.nn.Module, inputs: Any, output: Any) -> None:
        output = output[0] if isinstance(output, tuple) and output else output  # as recurrent layers return
        if isinstance(output, torch.Tensor) and output.is_floating_point() and output.numel():
            outputs[name] = output.detach()

    with ExitStack() as hooks:
        for prefix, module in by_name(model).items():
            for path, layer in module.named_modules():
                if next(layer.children(), None) is None:
                    name = "/".join(filter(None, (prefix, path))) or type(layer).__name__
                    hooks.callback(layer.register_forward_hook(partial(keep, name)).remove)
        yield outputs
