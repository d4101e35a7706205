"""`StepPrinter`: a line with the step's metrics, for logs without a terminal."""

from __future__ import annotations

import sys
from typing import IO, Any

from tqdm import tqdm
from treadle import AbstractTrainingPhase, Callback, Read
from treadle.authoring import phase_label, whole_number, writable

from treadle_progress.text import encodable, formatted


class StepPrinter(Callback):
    """Print a line with the step's metrics at every `freq`-th training step, for logs without a terminal.

    Training steps are counted as `learner.progress.steps` counts them: of all training phases and all fits, those of a
    run that is resumed included. The values are those of this one step, as `Metrics` recorded them; `SmoothLoss` among
    its metrics is less noisy. Only a step that is printed waits for a device.

    Args:
        freq: The number of steps from line to line, at least 1. Default: 100.
        file: Where to write. Default: standard output.

    Reads: `cbstate.metricsstep`, `cbstate.history`.

    Raises:
        ArgumentTypeError: if `freq` is not a whole number, or `file` cannot be written to.
        ArgumentValueError: if `freq` is less than 1, or `file` is closed.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_metrics import Metrics, Recorder
        >>> _ = toy_learner(Recorder(), Metrics(), StepPrinter(freq=8)).fit(2)
        epoch 1, step 8, TrainingPhase: Loss 122.7...
        epoch 1, step 16, TrainingPhase: Loss 112.6...
        epoch 2, step 24, TrainingPhase: Loss 82.8...
        epoch 2, step 32, TrainingPhase: Loss 70.0...
    """

    main_process_only = True
    state_access = {"cbstate.metricsstep": Read, "cbstate.history": Read}
    run_after = ("metrics", "progress_printer")
    optional_state = True

    def __init__(self, freq: int = 100, *, file: IO[str] | None = None) -> None:
        self.freq = whole_number(freq, "StepPrinter(freq)", "StepPrinter(freq=100)", least=1)
        if file is not None:
            writable(file, "file", "StepPrinter(file=sys.stdout)")
        self.file = file

    def on_step_end(self, learner: Any, phase: AbstractTrainingPhase) -> None:
        progress = learner.progress
        if progress.steps % self.freq:
            return
        step = learner.cbstate.history[phase].steps
        last = {name: series.last for name, series in learner.cbstate.metricsstep[phase].items() if len(series)}
        values = [f"{name} {formatted(value)}" for name, (iteration, value) in last.items() if iteration == step]
        line = f"epoch {progress.epoch}, step {progress.steps}, {phase_label(phase)}: {', '.join(values) or '-'}"
        file = self.file or sys.stdout
        with tqdm.external_write_mode(file=file):  # progress bars on the same terminal make room
            print(encodable(" ".join(line.splitlines()), file), file=file)
            if callable(flush := getattr(file, "flush", None)):
                flush()
