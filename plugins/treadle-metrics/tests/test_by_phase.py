import copy
import itertools
import pickle
from dataclasses import dataclass

import pytest
from treadle import Phase, TrainingPhase, ValidationPhase
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_metrics import ByPhase, History


@dataclass(frozen=True)
class Accumulating(Phase):
    batches: int = 2


class Inspection(Phase):
    """A phase without fields."""


def filled():
    history = ByPhase(History)
    history.of(TrainingPhase()).steps = 7
    history.of(Accumulating(3)).steps = 5
    return history


def test_a_phase_that_has_not_run_gives_an_empty_record_that_is_not_kept():
    history = ByPhase(History)
    assert history[TrainingPhase()] == History()
    assert len(history) == 0
    assert TrainingPhase() not in history


def test_an_equal_phase_finds_the_record_and_one_with_other_fields_does_not():
    history = filled()
    assert history[TrainingPhase()].steps == 7
    assert history[Accumulating(3)].steps == 5
    assert history[Accumulating(2)].steps == 0


def test_a_record_to_write_to_is_kept_and_stays_the_same():
    history = ByPhase(History)
    record = history.of(ValidationPhase())
    assert history.of(ValidationPhase()) is record
    assert list(history) == [ValidationPhase()]


def test_the_state_has_strings_for_phases():
    assert filled().state_dict() == {
        "treadle.phases:TrainingPhase": {"epochs": 0, "steps": 7, "steps_epoch": 0},
        f"{__name__}:Accumulating(batches=3)": {"epochs": 0, "steps": 5, "steps_epoch": 0},
    }


def test_the_records_come_back_from_the_state_in_the_same_objects():
    history = ByPhase(History)
    record = history.of(TrainingPhase())
    history.of(ValidationPhase()).steps = 3
    history.load_state_dict(filled().state_dict())
    assert history[TrainingPhase()] is record
    assert record.steps == 7
    assert ValidationPhase() not in history


def test_a_phase_without_fields_is_there_after_loading():
    history = ByPhase(History)
    history.load_state_dict(filled().state_dict())
    assert list(history) == [TrainingPhase()]


@pytest.mark.parametrize("phases", [*itertools.permutations([TrainingPhase(), ValidationPhase(), Inspection()])])
@pytest.mark.parametrize("present", [[], [ValidationPhase()], [Inspection(), TrainingPhase()]])
def test_the_records_come_back_in_the_order_in_which_they_were_made(phases, present):
    before, after = ByPhase(History), ByPhase(History)
    for phase in phases:
        before.of(phase)
    for phase in present:
        after.of(phase)
    after.load_state_dict(before.state_dict())
    assert list(after) == list(phases)


def test_of_a_class_that_was_defined_again_the_newest_takes_the_record():
    def define():
        return type("Again", (Phase,), {"__module__": "notebook", "__qualname__": "Again"})

    before, after, older = ByPhase(History), ByPhase(History), define()
    before.of(older()).steps = 3
    newer = define()
    after.load_state_dict(before.state_dict())
    assert (after[newer()].steps, after[older()].steps) == (3, 0)


def test_a_phase_with_fields_is_there_when_an_equal_one_is_looked_up():
    history = ByPhase(History)
    history.load_state_dict(filled().state_dict())
    assert history[Accumulating(3)].steps == 5
    assert Accumulating(3) in history


def test_the_state_of_a_phase_that_was_not_looked_up_is_passed_on():
    history = ByPhase(History)
    history.load_state_dict(filled().state_dict())
    assert history.state_dict() == filled().state_dict()


def test_a_state_that_was_passed_on_is_loaded_once():
    history = ByPhase(History)
    history.load_state_dict(filled().state_dict())
    history.of(Accumulating(3)).steps += 1
    assert history[Accumulating(3)].steps == 6


def test_the_records_as_plain_values_have_labels_for_phases():
    assert filled().to_dict() == {
        "TrainingPhase": {"epochs": 0, "steps": 7, "steps_epoch": 0},
        "Accumulating(batches=3)": {"epochs": 0, "steps": 5, "steps_epoch": 0},
    }


def test_the_records_as_rows_have_a_column_for_the_phase():
    assert filled().rows() == [
        {"phase": "TrainingPhase", "epochs": 0, "steps": 7, "steps_epoch": 0},
        {"phase": "Accumulating(batches=3)", "epochs": 0, "steps": 5, "steps_epoch": 0},
    ]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda history: pickle.loads(pickle.dumps(history))])
def test_a_copy_has_records_of_its_own(duplicate):
    history = filled()
    other = duplicate(history)
    other[TrainingPhase()].steps += 1
    assert (history[TrainingPhase()].steps, other[TrainingPhase()].steps) == (7, 8)


def test_a_class_is_refused_with_the_instance_to_write():
    with pytest.raises(
        ArgumentTypeError,
        match=r"The phase of a record must be .*, got the class TrainingPhase\.\n.*\n    TrainingPhase\(\)",
    ):
        ByPhase(History)[TrainingPhase]


def test_what_is_not_a_phase_is_refused():
    with pytest.raises(
        ArgumentTypeError,
        match=r"must be an instance of Phase, got 'training'\.\n.*\n    .*history\[TrainingPhase\(\)\]",
    ):
        ByPhase(History)["training"]


def test_counts_have_their_axes_and_each_phase_its_bar(tmp_path):
    history = ByPhase(History)
    history.of(TrainingPhase()).steps = 16
    history.of(ValidationPhase()).steps = 4
    path = tmp_path / "runs" / "history.png"
    figure = history.plot(path)
    assert [axes.get_title() for axes in figure.axes] == ["epochs", "steps", "steps_epoch"]
    assert [bar.get_height() for bar in figure.axes[1].patches] == [16, 4]
    assert [tick.get_text() for tick in figure.axes[1].get_xticklabels()] == ["TrainingPhase", "ValidationPhase"]
    assert path.read_bytes().startswith(b"\x89PNG")


def test_nothing_recorded_draws_no_bars():
    with pytest.raises(
        ArgumentValueError, match=r"Nothing is recorded yet.*\nFix: train first:\n    learner\.fit\(10\)"
    ):
        ByPhase(History).plot()
