"""`LogVisualization`: log a picture, or anything else, made from a step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from treadle import AbstractTrainingPhase, Callback, Learner, Phase, Read
from treadle.errors import ArgumentTypeError
from treadle.state.random_state import preserved_random_state

from treadle_logging.backend import LoggerBackend
from treadle_logging.delivery import Delivery
from treadle_logging.every import Every
from treadle_logging.image import to_image
from treadle_logging.loggable import Loggable


class LogVisualization(Callback):
    """Log what a function makes of a step, as `Step/Visualization`, every `freq` steps.

    Args:
        fn: Called with `learner.step`, of which it may read `xs`, `ys`, `yhats`, `loss`, `grads`.
            Returns any `Loggable`; or what becomes an `Image`: a tensor or array of shape
            (channels, height, width), a PIL image, a matplotlib figure (which is then closed). It may
            draw random numbers; the generators are put back.
        *backends: Where to log.
        freq: Every how many steps, beginning with the first; None means each. Default: 100.
        name: The last part of the tag. Default: `"Visualization"`.
        phase: The type of phase to log in. Default: training phases.
        strict: Whether a backend that fails ends the training. Default: False. What `fn` raises
            always does.

    Reads: `step`, `cbstate.history`.

    Raises:
        ArgumentTypeError: if `fn` cannot be called, a backend is none, or `freq` no int; during the fit,
            if `fn` returns nothing that can be logged.
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

    def __init__(
        self,
        fn: Callable[[Any], Any],
        *backends: LoggerBackend,
        freq: int | None = 100,
        name: str = "Visualization",
        phase: type[Phase] = AbstractTrainingPhase,
        strict: bool = False,
    ) -> None:
        if not callable(fn) or isinstance(fn, LoggerBackend):
            raise ArgumentTypeError(
                f"LogVisualization needs a function first, got {fn!r}: "
                f"LogVisualization(lambda step: step.xs[0], backend)"
            )
        if not (isinstance(phase, type) and issubclass(phase, Phase)):
            raise ArgumentTypeError(
                f"LogVisualization needs a type of phase, got {phase!r}: "
                f"LogVisualization(fn, backend, phase=ValidationPhase)"
            )
        self.fn = fn
        self.tag = name
        self.phase = phase
        self.every = Every(freq, self.name)
        self.delivery = Delivery(self.name, backends, strict=strict)

    def on_fit_begin(self) -> None:
        self.delivery.begin()

    def on_step_end(self, learner: Learner, phase: Phase) -> None:
        if not isinstance(phase, self.phase):
            return
        steps = learner.cbstate.history[phase].steps
        if self.every(steps):
            self.delivery.send([(self._picture(learner.step), self.tag, steps, ("Step",))])

    def on_epoch_end(self) -> None:
        self.delivery.flush()

    def on_fit_end(self) -> None:
        self.delivery.flush()

    def _picture(self, step: Any) -> Loggable:
        with preserved_random_state():  # watching changes nothing
            shown = self.fn(step)
        if isinstance(shown, Loggable):
            return shown
        if shown is None:
            raise ArgumentTypeError(
                f"{getattr(self.fn, '__qualname__', self.fn)} returned None to LogVisualization. Return a "
                f"picture or a Loggable, for example: return step.xs[0]"
            )
        picture = to_image(shown)
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot and callable(getattr(shown, "savefig", None)):
            pyplot.close(shown)  # it would keep every figure until the run ends
        return picture
