"""`LogTraces`: log what `Traces` recorded."""

from __future__ import annotations

from treadle import Learner, Phase, Read

from treadle_logging.series_logger import SeriesLogger, phase_name


class LogTraces(SeriesLogger):
    """Log the traces of every step, as `Step/<phase>/Traces/<name>`.

    Args:
        *backends: Where to log.
        block: So many values are held back at most. Default: 1000.
        seconds: So long they are held back at most. Default: 10.
        strict: Whether a backend that fails ends the training. Default: False.

    Reads: `cbstate.tracehistory`.

    Raises:
        ArgumentTypeError: if a backend is none, or `block` no int, or `seconds` no number.
        ArgumentValueError: without a backend, for a `block` below one or `seconds` below zero.

    Example:
        >>> from pathlib import Path
        >>> from treadle import TrainingPhase, toy_learner
        >>> from treadle_logging import CSVBackend
        >>> from treadle_metrics import Recorder, Traces
        >>> traces = Traces({"Samples": lambda learner: len(learner.step.xs)}, phase=TrainingPhase)
        >>> _ = toy_learner(Recorder(), traces, LogTraces(CSVBackend("traces.csv")), nbatches=2).fit(1)
        >>> print(Path("traces.csv").read_text())
        tag,iteration,value
        Step/TrainingPhase/Traces/Samples,1,8.0
        Step/TrainingPhase/Traces/Samples,2,8.0
    """

    state_access = {"cbstate.tracehistory": Read}
    run_after = ("traces",)

    def on_step_end(self, learner: Learner, phase: Phase) -> None:
        self.note(learner.cbstate.tracehistory[phase], ("Step", phase_name(phase), "Traces"))
        self.write_if_due()
