"""`CompiledStep`: forward pass, loss, backward pass and update as one compiled unit."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, cast

import torch
from treadle import Callback, ConflictResolution, Read, TrainingPhase, Unresolvable, Write
from treadle.authoring import by_name, unwrap, update_under_way
from treadle.errors import ArgumentValueError, CallbackError
from treadle.operations import needs_closure

from treadle_compile.between import changes_model, changes_update, refusal, sees_gradients
from treadle_compile.compile import Compile
from treadle_compile.options import checked_options
from treadle_compile.unit import Known, Result, Unit, signature
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
        without = {"fullgraph": "a unit is one graph.", "disable": "leave out the callback instead."}
        self.options = checked_options(options, "CompiledStep", without=without)
        self.with_update = with_update
        self._known: dict[str, Known] = {}  # by what a batch looks like
        self._learning = ""  # what the batch of a step looks like that runs as it is written
        self._unit: Unit | None = None
        self._model: Any = None  # the learner's, and its optimizer, for which the unit is
        self._optimizer: Any = None
        self._before: dict[str, int] | None = None
        self._changing, self._checked = True, False  # whether others may change the model; whether it was looked at
        self._again = 0  # how often the same step had to be compiled again

    def __getstate__(self) -> Any:
        """Without what was compiled, which a copy makes anew."""
        state, slots = cast(tuple[dict[str, Any], Any], super().__getstate__())
        return {**state, "_unit": None, "_model": None, "_optimizer": None}, slots

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
        self._unit = self._before = None
        self._known = {}
        self._again = 0

    # The unit.

    def _unit_of(self, learner: Any) -> Unit:
        """The unit for the learner's model, loss function and optimizer as they are."""
        unit = self._unit
        if (
            unit is not None
            and learner.model is self._model
            and learner.optimizer is self._optimizer
            and learner.lossfn is unit.lossfn
        ):
            whole, self._checked = self._changing or not self._checked, True
            if unit.is_current(whole=whole):
                return unit
            self._known.clear()  # other parameters are trained
        self._unit, self._model, self._optimizer = self._new_unit(learner), learner.model, learner.optimizer
        return self._unit

    def _new_unit(self, learner: Any, *, updates: bool = True) -> Unit:
        others = [callback for callback in learner.callbacks if unwrap(callback) is not self]
        between = [callback for callback in others if changes_update(callback)]
        if self.with_update and between:
            raise ArgumentValueError(
                f"CompiledStep(with_update=True) is to compile the update, and {between[0].name} changes what it is "
                f"made of before it.\nFix: leave it to the callbacks that there are:\n    CompiledStep()"
            )
        self._changing = any(changes_model(callback) for callback in others)
        optimizer = optimizer_of(learner)
        updates = updates and self.with_update is not False and not between and is_plain(optimizer)
        wants_grads = not updates or any(sees_gradients(callback) for callback in others)
        options = {"dynamic": False, **self.options, "fullgraph": True}
        unit = Unit(model_of(learner), learner.lossfn, optimizer, options, updates=updates, wants_grads=wants_grads)
        unit.refuse_unfit()
        return unit

    def forward(self, learner: Any, phase: TrainingPhase) -> Any:
        step = learner.step
        if "compiled" in step:
            return None  # somebody computes the outputs of the step once more
        unit = self._unit_of(learner)
        if self._again >= MOST:
            step.compiled = False
            return None
        key = repr(signature((step.xs, step.ys, unit.module.training)))
        known = self._known.get(key)
        if known is None or known.trainable != unit.trainable():
            self._learning, self._before, step.compiled = key, unit.versions(), False
            return None
        unit.use(known)
        try:
            step.compiled = result = unit.run(step.xs, step.ys) if unit.calls else self._first_run(learner, unit)
        except RuntimeError as error:
            if "fail_on_recompile" not in str(error):
                raise
            return self._as_written(learner)
        return result.yhats

    def _as_written(self, learner: Any) -> None:
        """Run a step as it is written, since it is no longer the one that was compiled; learn from it anew."""
        self._again += 1
        unit = self._unit = self._new_unit(learner)
        step = learner.step
        self._known.clear()
        self._learning = repr(signature((step.xs, step.ys, unit.module.training)))
        self._before, step.compiled = unit.versions(), False
        if self._again == MOST:
            from loguru import logger  # needed rarely, and loaded then

            logger.warning(
                f"Something that torch compiles into the step has changed {MOST} times: a number in the model or in "
                f"the optimizer other than the learning rate. From now on the steps run as they are written.\n"
                f"Fix: compile the model alone, or leave the optimizer out of the unit:\n"
                f"    CompiledStep(with_update=False)"
            )

    def _first_run(self, learner: Any, unit: Unit) -> Result:
        """Compile the unit; without the optimizer's step, if that is what torch cannot compile."""
        step = learner.step
        try:
            return unit.run(step.xs, step.ys)
        except Exception as error:
            if not is_of_compiler(error):
                raise
            if not unit.updates or self.with_update:
                error.add_note(NOTE)
                raise
            failed = error
        without = self._unit = self._new_unit(learner, updates=False)
        assert unit.known is not None
        without.use(unit.known)
        try:
            result = without.run(step.xs, step.ys)
        except Exception as error:
            if is_of_compiler(error):
                error.add_note(NOTE)
            raise
        from loguru import logger  # needed rarely, and loaded then

        logger.warning(
            f"torch cannot compile the step of {type(unit.optimizer).__name__} ({first_line(failed)}), so CompiledStep "
            f"compiles forward, loss and backward pass, and the optimizer steps as ever.\n"
            f"Fix: to have it all compiled, use an optimizer such as torch.optim.AdamW; or say that this is wanted:\n"
            f"    CompiledStep(with_update=False)"
        )
        return result

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
            result.unit.set_gradients(result)
        return True

    def update(self, learner: Any, phase: TrainingPhase) -> bool | None:
        result = learner.step.compiled
        if not result or not result.unit.updates:
            return None
        if result.committed:
            raise CallbackError(
                "A compiled step makes one update, and another one was to be made in it.\n"
                "Fix: compile the model alone, in place of the step:\n    Compile()"
            )
        result.unit.commit(result)
        return True

    def on_epoch_begin(self, learner: Any, phase: TrainingPhase) -> None:
        self._checked = False

    def on_update_end(self, learner: Any, phase: TrainingPhase) -> None:
        if self._before is not None:
            self._known[self._learning] = self._unit_of(learner).learn(self._before)
            self._before = None

    # In a checkpoint.

    def state_dict(self) -> dict[str, Any]:
        known = {key: {name: list(value) for name, value in one._asdict().items()} for key, one in self._known.items()}
        return {"known": known, "again": self._again}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        known = state["known"].items()
        self._known = {key: Known(*(tuple(one[name]) for name in Known._fields)) for key, one in known}
        self._again = state["again"]


def is_plain(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the step of an optimizer is one of torch's own, so that it can be compiled with what is before it."""
    hooked = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks or global_hooks()
    ways = any(group.get(way) for group in optimizer.param_groups for way in ("foreach", "fused", "differentiable"))
    own = type(optimizer).__module__.startswith("torch.optim.") and "step" not in vars(optimizer)
    return own and not hooked and not ways and not needs_closure(optimizer)


def global_hooks() -> bool:
    """Whether there are hooks that every optimizer calls."""
    module = importlib.import_module("torch.optim.optimizer")  # torch.optim hides the name
    return bool(module._global_optimizer_pre_hooks or module._global_optimizer_post_hooks)


def model_of(learner: Any) -> torch.nn.Module:
    """The learner's one model."""
    (model,) = by_name(learner.model).values()
    return model  # type: ignore[no-any-return]


def optimizer_of(learner: Any) -> torch.optim.Optimizer:
    """The learner's one optimizer."""
    (optimizer,) = by_name(learner.optimizer).values()
    return optimizer  # type: ignore[no-any-return]


def is_of_compiler(error: Exception) -> bool:
    """Whether an error says that torch could not compile something."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


#: How often a step may turn out to be another one than was compiled.
MOST = 5

#: For an error of the compiler.
NOTE = """\
CompiledStep compiles a step as one unit, and torch could not.
Fix: let it compile what it can, and go on without the rest:
    Compile()"""
