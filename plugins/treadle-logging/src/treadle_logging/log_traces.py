"""`LogTraces`: log what `Traces` recorded."""

from __future__ import annotations

from treadle import Learner, Phase, Read

from treadle_logging.logger import SeriesLogger


class LogTraces(SeriesLogger):
    """Log the traces of every step, as `Step/<phase>/Traces/<name>`.

    Args: as in `LogMetrics`.

    Reads: `cbstate.tracehistory`.

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
        self.note_phase(learner, phase, learner.cbstate.tracehistory, "Step", "Traces")
