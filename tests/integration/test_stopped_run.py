"""A run that EarlyStopping had stopped, or that was finished, is over when it is started again."""

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import Learner, toy_learner
from treadle.errors import MismatchError
from treadle_checkpoint import Checkpointer, resume
from treadle_logging import CSVBackend, LogMetrics
from treadle_stopping import (
    Criterion,
    EarlyStop,
    EarlyStopping,
    NumberLimit,
    NumberSinceBest,
    Patience,
    Threshold,
    TimeLimit,
)


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


@dataclass(frozen=True)
class Custom(Criterion):
    """A criterion of a user's, with a setting that no checkpoint holds."""

    met: type | object

    def update(self, state, loss):
        return loss

    def done(self, state):
        return True


CRITERIA = st.lists(
    st.sampled_from(
        [
            NumberLimit(1),
            NumberLimit(2),
            NumberLimit(9),
            Patience(1),
            NumberSinceBest(9),
            Threshold(1e9),
            TimeLimit(timedelta(seconds=2), clock=count().__next__),
            Custom(object()),
        ]
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=25, deadline=None)
@given(criteria=CRITERIA)
def test_whatever_criteria_were_met_are_those_that_the_resumed_fit_returns(criteria):
    with tempfile.TemporaryDirectory() as folder:

        def make(*more):
            return toy_learner(EarlyStopping(*more), Checkpointer(folder), nbatches=2)

        stop = make(*criteria).fit(4).cancelled
        again = make(*criteria)
        resume(again, folder)
        result = again.fit(4)
        if stop is None:
            assert result.cancelled is None
            return
        assert type(result.cancelled) is type(stop) is EarlyStop
        assert (result.cancelled.criterion, result.cancelled.args) == (stop.criterion, stop.args)
        assert str(result.cancelled) == str(stop)


def test_with_fewer_criteria_than_the_saved_run_a_stopped_one_is_refused_by_name(tmp_path):
    toy_learner(EarlyStopping(Patience(9), NumberLimit(1)), Checkpointer(tmp_path)).fit(4)
    with pytest.raises(
        MismatchError, match=r"stopped by criterion 2 of EarlyStopping, which has 1 here\.\nFix: resume with the same"
    ):
        resume(toy_learner(EarlyStopping(Patience(9)), Checkpointer(tmp_path)), tmp_path)
