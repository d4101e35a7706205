"""`Units`: which unit computes a step, and which step runs as it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treadle import Callback
from treadle.authoring import by_name, unwrap
from treadle.errors import ArgumentValueError

from treadle_compile.between import changes_model, changes_update, sees_gradients
from treadle_compile.unfit import is_heard, is_plain, refuse_kept_outputs, refuse_unfit
from treadle_compile.unit.cuda_graphs import with_cuda_graphs
from treadle_compile.unit.known import Known, learn, trainable, versions
from treadle_compile.unit.result import Result
from treadle_compile.unit.signature import signature
from treadle_compile.unit.unit import Unit


class Units:
    """The unit for a learner as it is, and what the steps that ran as they are written have shown.

    Args:
        callback: Whose units they are.
        options: Those of `torch.compile`.
        with_update: Whether the optimizer's step is a part of the unit; None where nobody stands in between.
    """

    def __init__(self, callback: Callback, options: Mapping[str, Any], with_update: bool | None) -> None:
        self.callback, self.options, self.with_update = callback, options, with_update
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._known: dict[str, Known] = {}  # by what a batch looks like
        self._learning = ""  # what the batch of a step looks like that runs as it is written
        self._before: dict[str, int] | None = None  # the versions of the buffers before that step
        self._again = 0  # how often the same step had to be compiled again
        self.forget_compiled()

    def forget_compiled(self) -> None:
        """Forget what was compiled, and for whom."""
        self._unit: Unit | None = None
        self._model: Any = None  # the learner's, and its optimizer, for which the unit is
        self._optimizer: Any = None
        self._changing, self._checked = True, False  # whether others may change the model; whether it was looked at

    def look_again(self) -> None:
        """Look at the layers of the model before the next step, whoever may have changed them."""
        self._checked = False

    def run(self, learner: Any, step: Any) -> Result | None:
        """Compute a step by a unit; None for a step that is to run as it is written."""
        unit = self.unit_of(learner)
        xs, ys = step.xs, step.ys
        if (result := unit.run_again(xs, ys)) is not None:
            return result
        if self._again >= MOST:
            return None
        key = shown(unit, xs, ys)
        known = self._known.get(key)
        if known is None or known.trainable != trainable(unit.module):
            self._learning, self._before = key, versions(unit.module)
            return None
        unit.use(known)
        try:
            if unit.calls:
                return unit.run(xs, ys)
            result = self._first_run(learner, unit, xs, ys)
            refuse_kept_outputs(unit.module)
            return result
        except RuntimeError as error:
            if "fail_on_recompile" not in str(error):
                raise
        self._start_anew(learner, xs, ys)
        return None

    def learn(self, learner: Any) -> None:
        """Take what a step that ran as it is written has shown: its gradients are there."""
        if self._before is not None:
            self._known[self._learning] = learn(self.unit_of(learner).module, self._before)
            self._before = None

    def unit_of(self, learner: Any) -> Unit:
        """The unit for the learner's model, loss function and optimizer as they are."""
        unit = self._unit
        if (
            unit is not None
            and learner.model is self._model
            and learner.optimizer is self._optimizer
            and learner.lossfn is unit.lossfn
        ):
            whole, self._checked = self._changing or not self._checked, True
            if unit.is_current(whole=whole) and not (unit.updates and is_heard(unit.optimizer)):
                return unit
            self._known.clear()  # other parameters are trained, or somebody listens to the optimizer now
        self._unit, self._model, self._optimizer = self._new_unit(learner), learner.model, learner.optimizer
        return self._unit

    def _new_unit(self, learner: Any, *, updates: bool = True) -> Unit:
        others = [callback for callback in learner.callbacks if unwrap(callback) is not self.callback]
        between = [callback for callback in others if changes_update(callback)]
        if self.with_update and between:
            raise ArgumentValueError(
                f"CompiledStep(with_update=True) is to compile the update, and {between[0].name} changes what it is "
                f"made of before it.\nFix: leave it to the callbacks that there are:\n    CompiledStep()"
            )
        self._changing = any(changes_model(callback) for callback in others)
        (model,), (optimizer,) = by_name(learner.model).values(), by_name(learner.optimizer).values()
        updates = updates and self.with_update is not False and not between and is_plain(optimizer)
        wants_grads = not updates or any(sees_gradients(callback) for callback in others)
        options = {"dynamic": False, **self.options, "fullgraph": True}
        if any(parameter.is_cuda for parameter in model.parameters()):
            options = with_cuda_graphs(options)
        unit = Unit(model, learner.lossfn, optimizer, options, updates=updates, wants_grads=wants_grads)
        refuse_unfit(unit.module, optimizer, wants_grads=wants_grads)
        return unit

    def _first_run(self, learner: Any, unit: Unit, xs: Any, ys: Any) -> Result:
        """Compile the unit; without the optimizer's step, if that is what torch cannot compile."""
        try:
            return unit.run(xs, ys)
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
            result = without.run(xs, ys)
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

    def _start_anew(self, learner: Any, xs: Any, ys: Any) -> None:
        """Learn anew from a step that is no longer the one that was compiled, and runs as it is written."""
        self._again += 1
        unit = self._unit = self._new_unit(learner)
        self._known.clear()
        self._learning, self._before = shown(unit, xs, ys), versions(unit.module)
        if self._again == MOST:
            from loguru import logger  # needed rarely, and loaded then

            logger.warning(
                f"Something that torch compiles into the step has changed {MOST} times: a number in the model or in "
                f"the optimizer other than the learning rate. From now on the steps run as they are written.\n"
                f"Fix: compile the model alone, or leave the optimizer out of the unit:\n"
                f"    CompiledStep(with_update=False)"
            )

    # In a checkpoint, and in a copy.

    def state_dict(self) -> dict[str, Any]:
        """What steps have shown."""
        known = {key: {name: list(value) for name, value in one._asdict().items()} for key, one in self._known.items()}
        return {"known": known, "again": self._again}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what steps have shown."""
        known = state["known"].items()
        self._known = {key: Known(*(tuple(one[name]) for name in Known._fields)) for key, one in known}
        self._again = state["again"]

    def __getstate__(self) -> dict[str, Any]:
        """Without what was compiled, which a copy makes anew."""
        return {**vars(self), "_unit": None, "_model": None, "_optimizer": None}


def shown(unit: Unit, xs: Any, ys: Any) -> str:
    """What a batch looks like, in a checkpoint."""
    return repr(signature((xs, ys, unit.module.training)))


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
