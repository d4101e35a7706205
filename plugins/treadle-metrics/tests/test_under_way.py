from treadle import TrainingPhase, ValidationPhase
from treadle_metrics.by_phase import phase_key
from treadle_metrics.under_way import EpochsUnderWay


def resumed(before):
    after = EpochsUnderWay()
    after.load_state_dict(before.state_dict())
    return after


def test_an_epoch_is_under_way_from_its_begin_to_its_end():
    epochs, key = EpochsUnderWay(), phase_key(TrainingPhase())
    assert epochs.begin(TrainingPhase())
    assert key in epochs
    epochs.end(TrainingPhase())
    assert key not in epochs


def test_the_rest_of_a_resumed_epoch_is_no_new_one_but_the_next_one_is():
    before = EpochsUnderWay()
    before.begin(TrainingPhase())
    after = resumed(before)
    assert not after.begin(TrainingPhase())
    assert after.begin(TrainingPhase())


def test_an_epoch_that_had_ended_is_new_after_a_resumption():
    before = EpochsUnderWay()
    before.begin(TrainingPhase())
    before.end(TrainingPhase())
    assert resumed(before).begin(TrainingPhase())


def test_an_epoch_that_goes_on_without_its_begin_is_over_at_its_end():
    before = EpochsUnderWay()
    before.begin(TrainingPhase())
    after = resumed(before)
    after.end(TrainingPhase())
    assert after.begin(TrainingPhase())


def test_epochs_of_two_phases_are_told_apart():
    before = EpochsUnderWay()
    before.begin(TrainingPhase())
    after = resumed(before)
    assert after.begin(ValidationPhase())
    assert not after.begin(TrainingPhase())


def test_nothing_is_under_way_after_clearing():
    before = EpochsUnderWay()
    before.begin(TrainingPhase())
    after = resumed(before)
    after.clear()
    assert after.begin(TrainingPhase())
    assert before.state_dict() == ["treadle.phases:TrainingPhase"]
