"""What is recorded from validation to validation of a fit by steps."""

import pytest
import torch
from treadle import TrainingPhase, ValidationPhase, toy_learner
from treadle_metrics import Metric, Metrics, Recorder, SeriesByPhase

TRAINING, VALIDATION = TrainingPhase(), ValidationPhase()


def recorded(nbatches=4, metrics=(), **length):
    learner = toy_learner(Recorder(), Metrics(*metrics), nbatches=nbatches)
    learner.fit(**length)
    return learner.cbstate


def mean(values):
    return pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize("length", [{"steps": 10, "validate_every": 4}, {"n": 3, "validate_every": 3}, {"steps": 6}])
def test_training_is_measured_since_the_last_validation_whatever_the_epochs_are(length):
    cbstate = recorded(**length)
    every = length.get("validate_every", length.get("steps"))
    losses = cbstate.metricsstep[TRAINING]["Loss"].values
    training = cbstate.metricsepoch.intervals[TRAINING]["Loss"]
    steps = list(range(every, length.get("steps", 12) + 1, every))
    assert list(training.iterations) == steps
    assert list(training.values) == [mean(losses[step - every : step]) for step in steps]
    validation = cbstate.metricsepoch.intervals[VALIDATION]["Loss"]
    assert list(validation.iterations) == steps
    assert list(validation.values) == list(cbstate.metricsepoch[VALIDATION]["Loss"].values)


def test_epochs_are_measured_as_ever():
    by_steps, by_epochs = recorded(steps=8, validate_every=3), recorded(n=2)
    assert by_steps.metricsepoch[TRAINING].to_dict() == by_epochs.metricsepoch[TRAINING].to_dict()
    assert by_epochs.metricsepoch.intervals is None


def test_a_metric_that_accumulates_begins_anew_after_each_validation():
    class Count:
        total = 0

        def update(self, yhats, ys):
            self.total += 1

        def compute(self):
            return float(self.total)

        def reset(self):
            self.total = 0

    count = Metric(Count(), name="Count")
    cbstate = recorded(metrics=[count], steps=8, validate_every=3)
    assert list(cbstate.metricsepoch.intervals[TRAINING]["Count"].values) == [3, 3]
    assert list(cbstate.metricsepoch[TRAINING]["Count"].values) == [4, 4]


def test_what_is_left_of_one_fit_is_no_part_of_the_next():
    learner = toy_learner(Recorder(), Metrics(), nbatches=16)
    learner.fit(steps=3, validate_every=2)
    learner.fit(steps=2, validate_every=2)
    losses = learner.cbstate.metricsstep[TRAINING]["Loss"].values
    training = learner.cbstate.metricsepoch.intervals[TRAINING]["Loss"]
    assert dict(zip(training.iterations, training.values, strict=True)) == {2: mean(losses[:2]), 5: mean(losses[3:])}


def test_the_state_of_a_record_holds_them():
    record = SeriesByPhase("epoch")
    record.interval(TRAINING).of("Loss").push(5, 0.5)
    record.of(TRAINING).of("Loss").push(1, 0.25)
    again = SeriesByPhase("epoch")
    again.load_state_dict(record.state_dict())
    assert again.intervals.to_dict() == {"TrainingPhase": {"Loss": {"iterations": [5], "values": [0.5]}}}
    again.load_state_dict(SeriesByPhase("epoch").state_dict())
    assert (again.intervals, again.rows()) == (None, [])


def test_recording_them_leaves_the_weights_alone():
    weights = []
    for callbacks in ((), (Recorder(), Metrics())):
        learner = toy_learner(*callbacks)
        learner.fit(steps=10, validate_every=3)
        weights.append(learner.model.weight.detach())
    assert torch.equal(*weights)
