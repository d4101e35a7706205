"""`CompiledStep`: forward pass, loss, backward pass and update as one compiled unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from treadle import Callback, ConflictResolution, Read, TrainingPhase, Unresolvable, Write
from treadle.authoring import by_name, unwrap, update_under_way
from treadle.errors import ArgumentValueError, CallbackError

from treadle_compile.between import refusal
from treadle_compile.compile import Compile
from treadle_compile.options import checked_options
from treadle_compile.units import Units
from treadle_compile.unless_decided import unless_decided


class CompiledStep(Callback):
    """Compile a step of `TrainingPhase`: forward pass, loss, backward pass and update as one unit.

    The unit runs in the operation `forward`. It changes nothing: the parameters get their new values in `update`, so
    every event in between finds the learner as it finds it in any step, and a step or an update that is cancelled
    leaves the parameters as they are. Callbacks that watch get the outputs and the loss (without a graph, since nothing
    is left to differentiate) and, if they declare that they look at them, the gradients.

    - Who may change gradients, parameters or the optimizer between the forward pass and the update, as `ClipGradients`
      does, splits the unit: forward, loss and backward pass are compiled, and the optimizer steps as ever. So does an
      optimizer that is not torch's own, or has hooks.
    - Who wraps `forward` or `loss`, as `MixedPrecision("bf16")` does, wraps the whole unit.
    - Who takes part in an operation that is not there any more (`accumulate`, `backward`, `finalize_gradients`,
      `update`), or changes what was used already, is refused before the first step. `Compile` goes with all of them.

    The first batch of each shape runs as it is written: it makes the optimizer's state, and shows which parameters get
    a gradient and which buffers the forward pass changes. The second one takes the time of the compilation. A step that
    is no longer the one that was compiled runs as it is written, and is compiled anew.

    Numbers are equal up to rounding to those of a step that is not compiled. A resumed run is bit-equal.

    It is a guard: a phase of `TrainingPhase`'s kind that does not do these operations is refused.

    Args:
        with_update: Whether the optimizer's step is a part of the unit. Default: where nobody stands in between.
        **options: Those of `torch.compile`: `mode`, `backend`, `dynamic`, `options`. Default: dynamic=False, a unit for
            each shape, so that the numbers do not depend on the shapes that came before.

    Reads: `callbacks`, `lossfn`, `step.xs`, `step.ys`, `step.yhats`, `step.loss`.
    Writes: `model`, `optimizer`, `step.grads`, `step.compiled`.

    Raises:
        ArgumentTypeError, ArgumentValueError: for an option that torch.compile does not have; for several models; if
            the unit is to update, and somebody stands in between.
        CallbackError: in a step, if the loss was changed after the unit had used it.

    Example:
        >>> from treadle import toy_learner
        >>> learner = toy_learner(CompiledStep(backend="eager"))
        >>> result = learner.fit(5)
        >>> abs(learner.model.weight.item() - 3.0) < 0.1
        True
    """

    guard = True
    optional_state = True
    run_after = ("to_device",)
    state_access = {
        "callbacks": Read,
        "lossfn": Read,
        "model": Write,
        "optimizer": Write,
        "step.xs": Read,
        "step.ys": Read,
        "step.yhats": Read,
        "step.loss": Read,
        "step.grads": Write,
        "step.compiled": Write,
    }

    def __init__(self, *, with_update: bool | None = None, **options: Any) -> None:
        if not hasattr(torch.compiler, "set_stance"):
            raise CallbackError(
                f"CompiledStep needs torch 2.6 or newer, and this is {torch.__version__}.\n"
                f"Fix: install a newer one; or compile the model alone, in place of the step:\n    Compile()"
            )
        without = {"fullgraph": "a unit is one graph.", "disable": "leave out the callback instead."}
        self.options = checked_options(options, "CompiledStep", without=without)
        self.with_update = with_update
        self._units = Units(self, self.options, with_update)

    def resolve_conflict(self, other: Callback) -> ConflictResolution:
        inner = unwrap(other)
        if isinstance(inner, CompiledStep):
            return Unresolvable("A step is compiled once. Keep one of them.")
        if isinstance(inner, Compile):
            return Unresolvable("CompiledStep compiles the model as a part of the step. Keep one of them.")
        if reason := refusal(other):
            return Unresolvable(reason)
        return unless_decided(self, other)  # it changes what a step as it is written changes, and where that does

    def on_init(self, learner: Any) -> None:
        models = by_name(learner.model)
        if len(models) != 1:
            raise ArgumentValueError(
                f"CompiledStep compiles a step of one model, and the learner has {len(models)}: {', '.join(models)}.\n"
                f"Fix: compile each model, and write the step as a phase:\n    Compile()"
            )
        for callback in learner.callbacks:  # those that declare nothing are in conflict with nobody
            if unwrap(callback) is not self and (reason := refusal(callback)):
                raise CallbackError(
                    f"CompiledStep and {callback.name} cannot be used together: {reason}\n"
                    f"Fix: leave one of them out of the learner's callbacks."
                )
        self._units.reset()

    def on_epoch_begin(self, learner: Any, phase: TrainingPhase) -> None:
        self._units.look_again()

    def forward(self, learner: Any, phase: TrainingPhase) -> Any:
        step = learner.step
        if "compiled" in step:
            return None  # somebody computes the outputs of the step once more
        result = self._units.run(learner, step)
        step.compiled = result or False
        return result.yhats if result else None

    def loss(self, learner: Any, phase: TrainingPhase) -> Any:
        result = learner.step.compiled
        return result.loss if result and learner.step.yhats is result.yhats else None

    def backward(self, learner: Any, phase: TrainingPhase) -> bool | None:
        result = learner.step.compiled
        if not result:
            return None
        target = update_under_way(learner)
        if learner.step.loss is not result.loss or target.models is not None or target.loss != "loss":
            raise CallbackError(
                "The loss of a compiled step was changed, or another one was to be differentiated, after the unit had "
                "computed the gradients.\n"
                "Fix: put what changes it into the loss function; or compile the model alone, in place of the step:\n"
                "    Compile()"
            )
        if result.grads:
            result.set_gradients()
        return True

    def update(self, learner: Any, phase: TrainingPhase) -> bool | None:
        result = learner.step.compiled
        if not result:
            self._units.learn(learner)
            return None
        if result.values is None:
            return None
        if result.committed:
            raise CallbackError(
                "A compiled step makes one update, and another one was to be made in it.\n"
                "Fix: compile the model alone, in place of the step:\n    Compile()"
            )
        result.commit()
        return True

    def state_dict(self) -> dict[str, Any]:
        return self._units.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._units.load_state_dict(state)
