"""`LogMetrics`: log what the metrics measured."""

from __future__ import annotations

from treadle import Learner, Phase, Read

from treadle_logging.logger import SeriesLogger


class LogMetrics(SeriesLogger):
    """Log metrics after every step and every epoch.

    The tags are `Step/<phase>/Metrics/<metric>` and `Epoch/<phase>/Metrics/<metric>`; in a fit that validates by steps
    also `Interval/<phase>/Metrics/<metric>`, of training since the last validation and of each validation, under the
    number of training steps. A step only notes what is new; see `block` and `seconds`. Inside of
    `throttle(..., StepEnd, freq=10)` it logs the steps that it sees.

    Args:
        *backends: Where to log.
        block: Maximum number of values that are held back. Default: 1000.
        seconds: Maximum time for which they are held back. Default: 10.
        strict: Whether a backend that fails ends the training. Default: False.

    Reads: `cbstate.metricsstep`, `cbstate.metricsepoch`.

    Example:
        >>> from pathlib import Path
        >>> from treadle import toy_learner
        >>> from treadle_logging import CSVBackend
        >>> from treadle_metrics import Metrics, Recorder
        >>> learner = toy_learner(Recorder(), Metrics(), LogMetrics(CSVBackend("metrics.csv")))
        >>> _ = learner.fit(2)
        >>> len(Path("metrics.csv").read_text().splitlines())  # a header, 16 + 1 rows for each epoch
        69
    """

    state_access = {"cbstate.metricsstep": Read, "cbstate.metricsepoch": Read}
    run_after = ("metrics",)

    def on_step_end(self, learner: Learner, phase: Phase) -> None:
        self.note_phase(learner, phase, learner.cbstate.metricsstep, "Step", "Metrics")

    def on_epoch_end(self, learner: Learner, phase: Phase) -> None:
        recorded = learner.cbstate.metricsepoch
        self.note_phase(learner, phase, recorded, "Epoch", "Metrics")
        for interval in getattr(recorded, "intervals", None) or ():
            self.note_phase(learner, interval, recorded.intervals, "Interval", "Metrics")
        super().on_epoch_end(learner, phase)
