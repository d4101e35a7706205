import pytest
import torch
from treadle import Series, TrainingPhase, ValidationPhase
from treadle_metrics import SeriesByName, SeriesByPhase


def recorded():
    """Two epochs of training and one of validation, in which alone there is an accuracy."""
    metrics = SeriesByPhase("epoch", ["Loss", "Accuracy"])
    for epoch, loss in ((1, 0.5), (2, 0.25)):
        metrics.of(TrainingPhase()).of("Loss").push(epoch, loss)
    metrics.of(ValidationPhase()).of("Loss").push(1, 0.75)
    metrics.of(ValidationPhase()).of("Accuracy").push(1, 0.875)
    return metrics


def test_a_series_is_made_when_it_is_written_to():
    series = SeriesByName()
    assert isinstance(series.of("Loss"), Series)
    assert series.of("Loss") is series["Loss"]


def test_a_name_that_is_not_there_says_what_is():
    with pytest.raises(KeyError, match=r"Nothing is recorded here as 'Accurcy'\. Did you mean `Accuracy`\?"):
        recorded()[ValidationPhase()]["Accurcy"]


def test_rows_are_ordered_by_epoch_and_phase_and_have_every_column():
    assert recorded().rows() == [
        {"epoch": 1, "phase": "TrainingPhase", "Loss": 0.5, "Accuracy": None},
        {"epoch": 1, "phase": "ValidationPhase", "Loss": 0.75, "Accuracy": 0.875},
        {"epoch": 2, "phase": "TrainingPhase", "Loss": 0.25, "Accuracy": None},
    ]


def test_a_dictionary_holds_lists_by_phase_and_name():
    assert recorded().to_dict()["TrainingPhase"] == {"Loss": {"iterations": [1, 2], "values": [0.5, 0.25]}}


def test_names_that_were_expected_come_first():
    metrics = SeriesByPhase("epoch", ["Loss", "Accuracy"])
    metrics.of(TrainingPhase()).of("Recall").push(1, 0.5)
    assert metrics.names == ["Loss", "Accuracy", "Recall"]


def test_the_curves_of_a_name_are_those_of_the_phases_that_have_it():
    assert {label: len(series) for label, series in recorded().curves("Loss").items()} == {
        "TrainingPhase": 2,
        "ValidationPhase": 1,
    }
    assert list(recorded().curves("Accuracy")) == ["ValidationPhase"]


def test_a_checkpoint_holds_it_in_plain_values_and_tensors():
    state = recorded().state_dict()
    assert torch.equal(state["treadle.phases:TrainingPhase"]["Loss"]["values"], torch.tensor([0.5, 0.25]).double())
    resumed = SeriesByPhase("epoch")
    resumed.load_state_dict(state)
    assert resumed == recorded()


def test_a_record_that_is_written_to_stays_the_same_object_when_a_state_is_loaded():
    metrics = SeriesByPhase("epoch")
    training = metrics.of(TrainingPhase())
    metrics.load_state_dict(recorded().state_dict())
    assert list(training["Loss"].values) == [0.5, 0.25]
