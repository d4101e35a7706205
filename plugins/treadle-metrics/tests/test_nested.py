"""Epochs inside of epochs: the records of training are those that it has without them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import (
    BackwardBegin,
    BackwardEnd,
    CustomCallback,
    EpochBegin,
    EpochEnd,
    LossBegin,
    StepBegin,
    StepEnd,
    TrainingPhase,
    ValidationPhase,
    epoch,
    step,
    toy_learner,
)
from treadle_metrics import Metrics, Recorder, SmoothLoss, Traces

EVENTS = [EpochBegin, StepBegin, LossBegin, BackwardBegin, BackwardEnd, StepEnd, EpochEnd]


def right(yhats, ys):
    return {"least": yhats.min(), "most": yhats.max()}


def trained(*nestings):
    """What training recorded, with validation run inside of it at some dispatches of some events."""
    traces = Traces({"Squared loss": lambda learner: learner.step.loss**2}, TrainingPhase)
    learner = toy_learner(Recorder(), Metrics(SmoothLoss(0.5), right), traces, nbatches=3)

    def nest(event, places, name, steps):
        count = [0]

        def run(_):
            count[0] += 1
            if count[0] in places:
                if steps:
                    step(learner, ValidationPhase(), learner.data.validation[0])
                else:
                    epoch(learner, ValidationPhase())

        callback = CustomCallback(run, event, TrainingPhase)
        callback.name = name  # before or after the others in the order
        return callback

    for i, (event, places, first, steps) in enumerate(nestings):
        learner.add_callback(nest(event, places, f"{'A' if first else 'Z'}{i}", steps))
    learner.fit(2)
    phase, cbstate = TrainingPhase(), learner.cbstate
    series = (cbstate.metricsstep[phase], cbstate.metricsepoch[phase], cbstate.tracehistory[phase])
    return cbstate.history[phase].to_dict(), [one.to_dict() for one in series], learner.model.weight.item()


nestings = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.sets(st.integers(1, 6), min_size=1), st.booleans(), st.booleans()), max_size=3
)


@settings(max_examples=30, deadline=None)
@given(nestings)
def test_validation_inside_of_training_at_any_event_leaves_the_records_of_training_as_they_are(drawn):
    assert trained(*drawn) == trained()


@pytest.mark.parametrize("between", [False, True])
def test_an_epoch_of_an_equal_phase_inside_of_another_keeps_what_the_outer_one_has(scripted, other, between):
    class Outer(type(scripted)):
        def step(self, learner, batch):
            super().step(learner, batch)
            if batch == 2.0:
                epoch(learner, Between() if between else Outer(), ["inside"] if between else [10.0, 30.0])

    class Between(type(other)):
        def step(self, learner, batch):
            epoch(learner, Outer(), [10.0, 30.0])

    learner = toy_learner(Recorder(), Metrics(SmoothLoss(0.5)))
    epoch(learner, Outer(), [1.0, 2.0, 6.0])
    recorded = learner.cbstate.metricsepoch[Outer()]
    assert list(recorded["Loss"].values) == [20.0, 3.0]
    history = learner.cbstate.history[Outer()]
    assert (history.epochs, history.steps, history.steps_epoch) == (2, 5, 3)
