"""`LogHyperParams`: log the hyperparameters that a schedule sets."""

from __future__ import annotations

from treadle import AbstractTrainingPhase, Learner, Read
from treadle.authoring import position_of

from treadle_logging.logger import SeriesLogger


class LogHyperParams(SeriesLogger):
    """Log the values that hyperparameters were set to, as `Step/HParams/<hyperparameter>`.

    Args: as in `LogMetrics`.

    Reads: `cbstate.hyperparams`.

    Example:
        >>> from pathlib import Path
        >>> from treadle import toy_learner
        >>> from treadle_logging import CSVBackend
        >>> from treadle_schedule import Exp, LearningRate, Scheduler
        >>> scheduler = Scheduler({LearningRate: Exp(start=0.1, decay=0.5)})
        >>> _ = toy_learner(scheduler, LogHyperParams(CSVBackend("hyperparams.csv")), nbatches=3).fit(1)
        >>> print(Path("hyperparams.csv").read_text())  # by how many steps were done
        tag,iteration,value
        Step/HParams/LearningRate,0,0.1
        Step/HParams/LearningRate,1,0.05
        Step/HParams/LearningRate,2,0.025
    """

    state_access = {"cbstate.hyperparams": Read}
    run_after = ("scheduler",)

    def on_step_end(self, learner: Learner) -> None:
        def levels() -> int:
            return sum(isinstance(phase, AbstractTrainingPhase) for phase in position_of(learner).levels)

        self.note(learner.cbstate.hyperparams, ("Step", "HParams"), levels)
