import pytest
import torch
from treadle import (
    CallbackConflictError,
    ProtectedException,
    Read,
    TrainingPhase,
    ValidationPhase,
    epoch,
    toy_learner,
)
from treadle.errors import ArgumentTypeError
from treadle_metrics import MetricError, Recorder, Traces


def squared(learner):
    return learner.step.loss**2


def test_numbers_are_recorded_at_each_step_of_each_phase(scripted, other):
    learner = toy_learner(Recorder(), Traces({"Squared": squared, "One": lambda learner: 1}))
    epoch(learner, scripted, [1.0, 2.0])
    epoch(learner, other, [3.0])
    assert learner.cbstate.tracehistory.to_dict() == {
        "Scripted": {
            "Squared": {"iterations": [1, 2], "values": [1.0, 4.0]},
            "One": {"iterations": [1, 2], "values": [1.0, 1.0]},
        },
        "Other": {"Squared": {"iterations": [1], "values": [9.0]}, "One": {"iterations": [1], "values": [1.0]}},
    }


def test_a_function_that_gives_none_records_nothing_in_that_step(scripted):
    traces = Traces({"Late": lambda learner: None if learner.step.loss < 2 else learner.step.loss})
    learner = toy_learner(Recorder(), traces)
    epoch(learner, scripted, [1.0, 2.0, 1.0, 3.0])
    assert learner.cbstate.tracehistory.to_dict() == {
        "Scripted": {"Late": {"iterations": [2, 4], "values": [2.0, 3.0]}}
    }


def test_a_phase_restricts_it():
    learner = toy_learner(Recorder(), Traces({"Squared": squared}, phase=TrainingPhase))
    learner.fit(1)
    assert list(learner.cbstate.tracehistory) == [TrainingPhase()]


def test_gradients_can_be_traced():
    def norm(learner):
        return sum(gradient.norm() for gradient in learner.step.grads.values())

    learner = toy_learner(Recorder(), Traces({"Gradient": norm}, TrainingPhase), nbatches=3)
    learner.fit(1)
    inputs = [xs.mean().item() for xs, _ in learner.data.training]  # the gradient of |w x - 3 x| below w = 3
    assert list(learner.cbstate.tracehistory[TrainingPhase()]["Gradient"].values) == pytest.approx(inputs)


def test_other_state_is_read_when_it_is_declared():
    def weight(learner):
        return learner.params.weight

    learner = toy_learner(
        Recorder(), Traces({"Weight": weight}, TrainingPhase, state_access={"params": Read}), nbatches=1
    )
    learner.fit(1)
    assert learner.cbstate.tracehistory[TrainingPhase()]["Weight"].last == (1, learner.params.weight.item())


def test_other_state_is_protected_when_it_is_not_declared():
    with pytest.raises(ProtectedException, match=r'Fix: add to Traces.state_access:\n    "params'):
        toy_learner(Recorder(), Traces({"Weight": lambda learner: learner.params.weight})).fit(1)


def test_several_can_be_used_together():
    traces = [Traces({"A": squared}), Traces({"B": squared})]
    learner = toy_learner(Recorder(), *traces)
    learner.fit(1)
    assert sorted(learner.cbstate.tracehistory[ValidationPhase()]) == ["A", "B"]


def test_two_that_record_one_name_are_refused():
    with pytest.raises(CallbackConflictError, match=r"Both record a trace called 'A'. Rename one"):
        toy_learner(Recorder(), Traces({"A": squared}), Traces({"A": squared, "B": squared}))


def test_traces_on_an_accelerator_stay_there(scripted, far):
    learner = toy_learner(Recorder(), Traces({"Squared": squared}))
    epoch(learner, scripted, [far(torch.tensor(2.0))])
    assert far.waits == []
    assert learner.cbstate.tracehistory[scripted]["Squared"].last == (1, 4.0)


def test_what_is_not_a_number_is_refused_by_name(scripted):
    with pytest.raises(MetricError, match=r"The trace 'Words' gave a str.*\nFix: .*as separate traces:\n    Traces\("):
        epoch(toy_learner(Recorder(), Traces({"Words": lambda learner: "many"})), scripted, [1.0])


@pytest.mark.parametrize("functions", [squared, [squared], {"A": 3}])
def test_functions_without_names_are_refused(functions):
    with pytest.raises(
        ArgumentTypeError, match=r"Traces takes functions of the learner by name, got .*\nFix: name them:\n    Traces\("
    ):
        Traces(functions)


def test_a_phase_that_is_not_a_type_is_refused():
    with pytest.raises(
        ArgumentTypeError, match=r"got TrainingPhase\(\)\.\nFix: pass the class:\n    phase=TrainingPhase"
    ):
        Traces({"A": squared}, TrainingPhase())
