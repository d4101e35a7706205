"""A run that EarlyStopping had stopped, or that was finished, is over when it is started again."""

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import (
    Callback,
    CancelFittingException,
    CustomCallback,
    EpochEnd,
    Learner,
    TrainingPhase,
    ValidationPhase,
    epoch,
    throttle,
    toy_learner,
)
from treadle.authoring import unwrap
from treadle.errors import MismatchError
from treadle_checkpoint import Checkpointer, checkpoints, latest, resume, save_run
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


def validating():
    """A phase of training that validates after each of its steps."""

    class Validating(TrainingPhase):
        def step(self, learner, batch):
            super().step(learner, batch)
            epoch(learner, ValidationPhase())

    return [Validating()]


class Cancels(Callback):
    """Cancels the fit where it is stopped, and before that, but not for good."""

    optional_state = True

    def __init__(self):
        self.validations = 0

    def on_epoch_end(self, phase: ValidationPhase):
        self.validations += 1
        if self.validations == 3:
            raise CancelFittingException("Enough for today.")


def best_of(learner):
    """The best value that its `EarlyStopping` has seen."""
    stopping = (unwrap(callback) for callback in learner.callbacks)
    return next(callback.best for callback in stopping if isinstance(callback, EarlyStopping))


LENGTHS = [
    {"n": 9},
    {"n": 9, "validate_every": 3},
    {"steps": 9, "validate_every": 2},
    {"steps": 9, "phases": [TrainingPhase()]},
    {"n": 9, "phases": [ValidationPhase()]},
    {"n": 9, "phases": validating()},
]


@pytest.mark.parametrize("length", LENGTHS, ids=str)
@pytest.mark.parametrize("options", [{}, {"restore_best": True}, {"keep_state": True}], ids=str)
@pytest.mark.parametrize("make", [EarlyStopping, lambda *a, **o: throttle(EarlyStopping(*a, **o), EpochEnd, freq=1)])
def test_wherever_a_run_was_stopped_it_is_over_when_it_is_resumed_with_the_same_weights(
    tmp_path, length, options, make
):
    def learner():
        stopping = make(NumberLimit(3), **options)
        return toy_learner(Cancels(), stopping, Checkpointer(tmp_path), nbatches=2)

    first, again = learner(), learner()
    stop = first.fit(**length).cancelled
    resume(again, tmp_path)
    result = again.fit(**length)
    assert result.steps == 0
    assert (type(result.cancelled), str(result.cancelled)) == (EarlyStop, str(stop))
    assert torch.equal(again.model.weight, first.model.weight)
    assert best_of(again) == best_of(first)
    assert again.fit(**length).steps == first.fit(**length).steps
    assert torch.equal(again.model.weight, first.model.weight)


@pytest.mark.parametrize("options", [{}, {"keep_state": True}])
def test_what_save_run_keeps_of_a_stopped_fit_is_no_fit_and_the_next_one_begins_as_in_the_run_itself(tmp_path, options):
    def learner():
        return toy_learner(EarlyStopping(NumberLimit(2), **options), nbatches=2)

    first, again = learner(), learner()
    first.fit(9)
    save_run(first, tmp_path / "run")
    resume(again, tmp_path / "run")
    ends = [fitted.fit(9) for fitted in (first, again)]
    assert [end.epochs for end in ends] == [0, 0] if options else [2, 2]
    assert str(ends[0]) == str(ends[1])


def test_with_an_early_stopping_that_is_new_the_run_goes_on(tmp_path):
    toy_learner(EarlyStopping(NumberLimit(2)), Checkpointer(tmp_path), nbatches=2).fit(9)
    for stopping, epochs in (([EarlyStopping(NumberLimit(3))], 3), ([], 7)):
        again = toy_learner(*stopping, nbatches=2)
        resume(again, latest(tmp_path).path, without=["EarlyStopping"])
        assert again.fit(9).epochs == epochs


def test_one_that_was_stopped_inside_of_another_fit_ends_neither_that_nor_the_resumed_one(tmp_path):
    def learner():
        def fit_inside(_):
            if made.progress.epoch == 2 and not inner:
                inner.append(made.fit(9).epochs)

        inner = []
        inside = CustomCallback(fit_inside, EpochEnd, TrainingPhase)
        made = toy_learner(inside, EarlyStopping(NumberLimit(3)), Checkpointer(tmp_path), nbatches=2)
        return made, inner

    first, inner = learner()
    assert (first.fit(9).epochs, inner) == (3 + 3, [3])
    for one in checkpoints(tmp_path):
        again, inner = learner()
        resume(again, one.path)
        assert again.fit(9).cancelled.criterion == NumberLimit(3)
        assert inner == ([3] if one.epoch < 2 else [])
        assert torch.equal(again.model.weight, first.model.weight)


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
