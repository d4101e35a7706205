"""Steps and epochs inside of steps and epochs: the log has exactly the points of the records."""

from hypothesis import example, given, settings
from hypothesis import strategies as st
from treadle import (
    CustomCallback,
    EpochBegin,
    EpochEnd,
    FitBegin,
    Read,
    RunFirst,
    StepBegin,
    StepEnd,
    TrainingPhase,
    ValidationPhase,
    Write,
    throttle,
    toy_learner,
)
from treadle.authoring import phase_label
from treadle_logging import LoggerBackend, LogHyperParams, LogMetrics, LogTraces
from treadle_metrics import Metrics, Recorder, Traces
from treadle_schedule import LearningRate, Scheduler


class Points(LoggerBackend):
    """Keeps the points of each tag."""

    def __init__(self):
        self.points = {}

    def log(self, loggable, name, i, group):
        self.points.setdefault(self.tag(name, group), []).append((i, loggable.number))


class Nest(CustomCallback):
    """Runs a step or an epoch inside of some dispatches of an event.

    Args:
        places: The numbers of those dispatches, from 1.
    """

    def __init__(self, name, event, places, phase, *, epochs):
        super().__init__(self.run, event, state_access={"loop": Write, "data": Read})
        self.name, self.places, self.inner, self.epochs = name, places, phase, epochs
        self.count = self.depth = 0

    def resolve_conflict(self, other):
        if isinstance(other, Nest):
            return RunFirst(min(self, other, key=lambda nest: (not isinstance(nest, Early), nest.name)))
        return super().resolve_conflict(other)

    def run(self, learner):
        self.count += 1
        if self.count not in self.places or self.depth == 2:
            return
        self.depth += 1
        if self.epochs:
            learner.loop.epoch(self.inner)
        else:
            learner.loop.step(self.inner, learner.data.training[0])
        self.depth -= 1


class Early(Nest):
    """Runs before what logs."""


class Metric(LogMetrics):
    run_after = (*LogMetrics.run_after, Early)


class Trace(LogTraces):
    run_after = (*LogTraces.run_after, Early)


class Rate(LogHyperParams):
    run_after = (*LogHyperParams.run_after, Early)


def nests(drawn):
    for i, (event, places, phase, epochs, early) in enumerate(drawn):
        yield (Early if early else Nest)(f"Nest{i}", event, places, phase, epochs=epochs)


def recorders():
    return Recorder(), Metrics(), Traces({"Twice": lambda learner: 2 * learner.step.loss})


def points(cbstate):
    """The points that are recorded, by the tags under which they are logged."""
    tables = {
        ("Step", "Metrics"): cbstate.metricsstep,
        ("Epoch", "Metrics"): cbstate.metricsepoch,
        ("Step", "Traces"): cbstate.tracehistory,
    }
    found = {
        f"{unit}/{phase_label(phase)}/{kind}/{name}": series
        for (unit, kind), table in tables.items()
        for phase, by_name in table.items()
        for name, series in by_name.items()
    }
    found |= {f"Step/HParams/{name}": series for name, series in cbstate.hyperparams.items()}
    return {tag: list(zip(series.iterations, series.values, strict=True)) for tag, series in found.items()}


nestings = st.lists(
    st.tuples(
        st.sampled_from([FitBegin, EpochBegin, StepBegin, StepEnd, EpochEnd]),
        st.sets(st.integers(1, 12), min_size=1, max_size=4),
        st.sampled_from([TrainingPhase(), ValidationPhase()]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=3,
)
BETWEEN = (StepEnd, {1}, TrainingPhase(), False, True)  # in the first step, between what records and what logs
BEFORE = (StepBegin, {2}, TrainingPhase(), False, False)


@settings(max_examples=40, deadline=None)
@example([BETWEEN], "step", 1000)
@example([BEFORE], "step", 1)
@given(nestings, st.sampled_from(["update", "step", "epoch"]), st.sampled_from([1, 3, 1000]))
def test_the_log_has_exactly_the_points_of_the_records(drawn, each, block):
    backend = Points()
    learner = toy_learner(
        *recorders(),
        Scheduler({LearningRate: lambda t: 0.001 / t}, each=each),
        *(logger(backend, block=block) for logger in (Metric, Trace, Rate)),
        *nests(drawn),
        nbatches=3,
    )
    learner.fit(2)
    assert backend.points == points(learner.cbstate)


def test_a_throttled_logger_logs_the_steps_that_it_sees_of_those_inside_of_others_too():
    backend = Points()
    logger = throttle(LogMetrics(backend), StepEnd, freq=3)
    validate = Nest("Validate", StepEnd, {1}, ValidationPhase(), epochs=True)
    learner = toy_learner(Recorder(), Metrics(), logger, validate, nbatches=3)
    learner.fit(1)
    # it sees every third of training 1, validation 1 to 3, training 2 and 3, validation 4 to 6
    assert [i for i, _ in backend.points["Step/TrainingPhase/Metrics/Loss"]] == [1]
    assert [i for i, _ in backend.points["Step/ValidationPhase/Metrics/Loss"]] == [3, 4]
