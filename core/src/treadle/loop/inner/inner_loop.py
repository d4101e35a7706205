"""`InnerLoop`: what a callback may run inside the epoch or step that is under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.arguments import subclass_of
from treadle.errors import CallbackError
from treadle.loop import loop
from treadle.loop.scope import Scope, entered
from treadle.operations import Operation
from treadle.state.propdict import PropDict

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.phases import Phase


class InnerLoop:
    """Runs epochs, steps and operations inside those that are under way, which stay as they were.

    A callback that declares `"loop": Write` has it as `learner.loop`. `learner.step`, the progress's phase, epoch
    and step, the modes and the gradients are put back afterwards, and after validation the random generators.

    Example:
        >>> from treadle import Callback, TrainingPhase, ValidationPhase, Write, toy_learner
        >>> class ValidateOften(Callback):
        ...     "Validate after every 8 steps of training."
        ...     state_access = {"loop": Write}
        ...     def on_step_end(self, learner, phase: TrainingPhase):
        ...         if learner.progress.step % 8 == 0:
        ...             learner.loop.epoch(ValidationPhase())
        >>> toy_learner(ValidateOften()).fit(1)
        FitResult(epochs=1, steps=16, cancelled=None)
    """

    __slots__ = ("_learner",)

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def epoch(self, phase: Phase, data: Any = None) -> None:
        """Run an epoch; see `treadle.epoch`."""
        loop.epoch(self._learner, phase, data)

    def step(self, phase: Phase, batch: Any) -> PropDict:
        """Run a step and return its state; see `treadle.step`. It is none of those of the epoch under way."""
        learner = self._learner
        with entered(learner), entered(learner):
            Scope(learner).set(learner.position, stepping=True)
            return loop.step(learner, phase, batch)

    def perform(self, operation: type[Operation], *args: Any) -> Any:
        """Perform an operation in the phase that is under way, with all that callbacks do to it.

        Args:
            *args: What the operation takes beside learner and phase.

        Raises:
            ArgumentTypeError: if it is not an operation.
            CallbackError: if no phase is under way.
        """
        subclass_of(operation, "operation", Operation, "learner.loop.perform(Forward)")
        phase = self._learner.progress.phase
        if phase is None:
            raise CallbackError(
                f"{operation.__name__} was to be performed where no phase is under way.\n"
                f"Fix: perform it in a handler of an epoch or a step, not of `on_fit_begin` or `on_fit_end`."
            )
        return self._learner.handle(phase).perform(operation, *args)

    def evaluate(self, data: Any = None, *metrics: Any, steps: int | None = None) -> dict[str, float]:
        """Measure the model on data, without a trace; see `Learner.evaluate`."""
        return self._learner.evaluate(data, *metrics, steps=steps)

    def predict(self, data: Any, steps: int | None = None) -> Any:
        """Apply the model to data, without a trace; see `Learner.predict`."""
        return self._learner.predict(data, steps)

    def __repr__(self) -> str:
        return "<the loop of a learner>"
