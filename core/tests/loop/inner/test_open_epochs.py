import copy

import pytest
from treadle import Learner, Phase, TrainingPhase, ValidationPhase, run_epoch, toy_learner
from treadle.authoring import OpenEpochs


def test_an_epoch_inside_of_another_leaves_the_value_of_the_outer_one() -> None:
    learner, epochs, training, inner = toy_learner(), OpenEpochs[str](), TrainingPhase(), TrainingPhase()
    with run_epoch(learner, training):
        epochs.begin(learner, training, "outer")
        assert epochs.innermost(learner, ValidationPhase()) is None
        with run_epoch(learner, inner):
            epochs.begin(learner, inner, "inner")
            assert (epochs.depth(learner), epochs.values()) == (2, ["outer", "inner"])
            assert epochs.end(learner, inner) == "inner"
        assert epochs.innermost(learner, training) == "outer"
        assert epochs.end(learner, training) == "outer"
    assert epochs.phases() == []


def fail_inside(learner: Learner, phase: Phase, epochs: OpenEpochs[str]) -> None:
    with run_epoch(learner, phase):
        epochs.begin(learner, phase, "inner")
        raise RuntimeError("inside")


def test_the_value_of_an_epoch_that_an_error_ended_is_dropped() -> None:
    learner, epochs, phase = toy_learner(), OpenEpochs[str](), TrainingPhase()
    with run_epoch(learner, phase):
        epochs.begin(learner, phase, "outer")
        with pytest.raises(RuntimeError, match="inside"):
            fail_inside(learner, phase, epochs)
        assert epochs.innermost(learner, phase) == "outer"
    assert epochs.depth(learner) == 0


def test_the_end_of_an_epoch_whose_beginning_was_not_seen_has_no_value() -> None:
    assert OpenEpochs[str]().end(toy_learner(), TrainingPhase()) is None


def test_loaded_values_belong_to_the_epochs_that_are_under_way_or_else_wait() -> None:
    learner, epochs, phase = toy_learner(), OpenEpochs[str](), TrainingPhase()
    epochs.load(["saved"])
    assert epochs.values() == ["saved"]
    with run_epoch(learner, phase):
        epochs.begin(learner, phase, "new")
        assert epochs.values() == ["new"]
        epochs.load(["saved"])
        assert epochs.innermost(learner, phase) == "saved"
        assert copy.deepcopy(epochs).values() == []
