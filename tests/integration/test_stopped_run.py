"""A run that EarlyStopping had stopped, or that was finished, is over when it is started again."""

from pathlib import Path

import pytest
from treadle import Learner, toy_learner
from treadle_checkpoint import Checkpointer, resume
from treadle_logging import CSVBackend, LogMetrics
from treadle_stopping import EarlyStopping, NumberLimit


def learner(folder: Path) -> Learner:
    log = LogMetrics(CSVBackend(folder / "log.csv", append=True))
    stopping = EarlyStopping(NumberLimit(2))
    return toy_learner("recorder", "metrics", log, stopping, Checkpointer(folder / "run"))


@pytest.mark.parametrize("validation", [True, False])
def test_a_run_that_was_stopped_early_trains_validates_and_logs_nothing_when_it_is_started_again(tmp_path, validation):
    def fit(trained: Learner):
        return trained.fit(9, None if validation else (trained.data.training,))

    first = learner(tmp_path)
    assert fit(first).epochs == 2
    logged = (tmp_path / "log.csv").read_text()
    for _ in range(2):
        again = learner(tmp_path)
        resume(again, tmp_path / "run")
        result = fit(again)
        assert (result.epochs, result.steps) == (0, 0)
        assert str(result.cancelled) == "Stopped early by NumberLimit(n=2): 2 losses have been seen."
        assert result.cancelled is not None
        assert isinstance(result.cancelled.callback, EarlyStopping)
        assert (tmp_path / "log.csv").read_text() == logged
        assert again.cbstate.history == first.cbstate.history
