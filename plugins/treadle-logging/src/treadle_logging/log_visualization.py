"""`LogVisualization`: log a picture, or anything else, made from a step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Self

from treadle import AbstractTrainingPhase, Learner, Phase, Read
from treadle.authoring import function, preserved_random_state, subclass_of
from treadle.errors import ArgumentTypeError, ArgumentValueError

from treadle_logging.backend import LoggerBackend, NullBackend
from treadle_logging.image import to_image
from treadle_logging.loggable import Loggable, text
from treadle_logging.logger import StepLogger


class LogVisualization(StepLogger):
    """Log what a function makes of a step, as `Step/Visualization`, every `freq` steps.

    Args:
        fn: Called with `learner.step`, of which it may read `xs`, `ys`, `yhats`, `loss`, `grads`.
            Returns any `Loggable`; or what becomes an `Image`: a tensor or array of shape
            (channels, height, width), a PIL image, a matplotlib figure (which is then closed). It may
            draw random numbers; the generators are put back.
        *backends: Where to log.
        freq: Every how many steps, beginning with the first; None means every step. Default: 100.
        name: The last part of the tag. Default: `"Visualization"`.
        phase: The type of phase to log in. Default: training phases.
        strict: Whether a backend that fails ends the training. Default: False. What `fn` raises
            always does.

    Reads: `step`, `cbstate.history`.

    Raises:
        ArgumentTypeError: for an argument of the wrong type; during the fit, if `fn` returns nothing
            that can be logged.
        ArgumentValueError: without a backend, or for a `freq` below one; during the fit, if `fn`
            returns a picture of the wrong shape or range.

    Example:
        >>> from pathlib import Path
        >>> from treadle import toy_learner
        >>> from treadle_logging import CSVBackend, Text
        >>> from treadle_metrics import Recorder
        >>> def worst(step):
        ...     distance = (step.yhats - step.ys).abs()
        ...     return Text(f"the worst is sample {distance.argmax().item()} of {len(distance)}")
        >>> backend = CSVBackend("worst.csv")
        >>> _ = toy_learner(Recorder(), LogVisualization(worst, backend, freq=10)).fit(1)
        >>> print(Path("worst.csv").read_text())
        tag,iteration,value
        Step/Visualization,1,the worst is sample ... of 8
        Step/Visualization,11,the worst is sample ... of 8
    """

    state_access = {"step": Read, "cbstate.history": Read}
    run_after = ("recorder",)

    @classmethod
    def example(cls) -> Self:
        return cls(lambda step: step.xs, NullBackend())

    def __init__(
        self,
        fn: Callable[[Any], Any],
        *backends: LoggerBackend,
        freq: int | None = 100,
        name: str = "Visualization",
        phase: type[Phase] = AbstractTrainingPhase,
        strict: bool = False,
    ) -> None:
        self.fn = function(fn, "LogVisualization(fn)", "LogVisualization(lambda step: step.xs[0], backend)")
        super().__init__(*backends, freq=freq, strict=strict)
        self.tag = text(name, "LogVisualization(name)", 'LogVisualization(fn, backend, name="Digits")')
        if not name:
            raise ArgumentValueError(
                "LogVisualization(name) is empty.\n"
                'Fix: pass what it shows:\n    LogVisualization(fn, backend, name="Digits")'
            )
        self.phase = subclass_of(
            phase, "LogVisualization(phase)", Phase, "LogVisualization(fn, backend, phase=ValidationPhase)"
        )

    def on_step_end(self, learner: Learner, phase: Phase) -> None:
        if not isinstance(phase, self.phase):
            return
        steps = learner.cbstate.history[phase].steps
        if self.is_due(steps):
            self.send([(self._picture(learner.step), self.tag, steps, ("Step",))])

    def _picture(self, step: Any) -> Loggable:
        with preserved_random_state():  # watching changes nothing
            shown = self.fn(step)
        if isinstance(shown, Loggable):
            return shown
        if shown is None:
            raise ArgumentTypeError(
                f"{getattr(self.fn, '__qualname__', self.fn)} returned None to LogVisualization.\n"
                f"Fix: return a picture or a Loggable:\n    return step.xs[0]"
            )
        picture = to_image(shown)
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot and callable(getattr(shown, "savefig", None)):
            pyplot.close(shown)  # pyplot would keep every figure until the run ends
        return picture
