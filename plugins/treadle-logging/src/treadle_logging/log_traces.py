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
        ArgumentError: if a backend is none, or `block` no int, or `seconds` no number.
        ArgumentValueError: without a backend, for a `block` below one or `seconds` below zero.

    Source: FluxTraining.jl, `LogTraces`.
    """

    state_access = {"cbstate.tracehistory": Read}
    run_after = ("traces",)

    def on_step_end(self, learner: Learner, phase: Phase) -> None:
        self.note(learner.cbstate.tracehistory[phase], ("Step", phase_name(phase), "Traces"))
        self.write_if_due()
