import pytest
from treadle import CallbackConflictError, Read, TrainingPhase, accesses, toy_learner
from treadle_logging import LogTraces
from treadle_metrics import Recorder, Traces


def test_the_traces_of_every_step_are_logged_by_phase_and_name(memory) -> None:
    count = iter(range(100))
    traces = Traces({"count": lambda learner: float(next(count))}, TrainingPhase)
    toy_learner(Recorder(), traces, LogTraces(memory), nbatches=3).fit(2)
    assert memory.rows == [("Step/TrainingPhase/Traces/count", step, step - 1.0) for step in range(1, 7)]


def test_a_phase_is_part_of_the_tag(memory) -> None:
    traces = Traces({"loss": lambda learner: learner.step.loss.detach()})
    toy_learner(Recorder(), traces, LogTraces(memory), nbatches=2).fit(1)
    assert memory.tags() == ["Step/TrainingPhase/Traces/loss", "Step/ValidationPhase/Traces/loss"]


def test_without_traces_it_is_refused(memory) -> None:
    with pytest.raises(CallbackConflictError, match=r"cbstate\.tracehistory"):
        toy_learner(LogTraces(memory))


def test_it_only_reads_the_traces(memory) -> None:
    assert accesses(LogTraces(memory), Read) == {"cbstate.tracehistory"}
