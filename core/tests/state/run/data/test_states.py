import pytest
import torch
from torch.utils.data import DataLoader, Sampler
from treadle import Callback, TrainingPhase, toy_learner
from treadle.errors import MismatchError, NotResumableError
from treadle.state.run.capture import capture_run
from treadle.state.run.data.states import capture, parts_with_state, put_back


class Position(Sampler):
    """Goes on where the last pass ended."""

    def __init__(self):
        self.at = 0

    def __len__(self):
        return 4

    def __iter__(self):
        for _ in range(4):
            self.at += 1
            yield self.at % 8

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


class Batches(Position):
    def __iter__(self):
        return ([index] for index in super().__iter__())


class Points(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.ones(1), torch.ones(1)


class Counting(Points):
    loaded = 0

    def state_dict(self):
        return {"loaded": self.loaded}

    def load_state_dict(self, state):
        self.loaded = state["loaded"]


class Stream(list):
    """A loader with a state of its own."""

    def state_dict(self):
        return {"here": 1}

    def load_state_dict(self, state):
        self.append(state)


@pytest.mark.parametrize(
    ("batches", "parts"),
    [
        (DataLoader(Points()), []),
        (DataLoader(Points(), sampler=Position()), ["sampler"]),
        (DataLoader(Points(), batch_sampler=Batches()), ["batch_sampler"]),
        (DataLoader(Counting(), sampler=Position()), ["sampler", "dataset"]),
        (
            DataLoader(Points(), batch_sampler=torch.utils.data.BatchSampler(Position(), 2, False)),
            ["batch_sampler.sampler"],
        ),
        (Stream(), []),
        ([], []),
    ],
)
def test_the_parts_of_a_loader_that_offer_a_state(batches, parts) -> None:
    assert list(parts_with_state(batches)) == parts


def test_of_the_epoch_under_way_the_state_before_its_first_batch_counts_and_of_others_that_of_now() -> None:
    saved = []

    class Save(Callback):
        def on_step_end(self, phase: TrainingPhase):
            saved.append(capture_run(learner).part("data"))

    training, other = (DataLoader(Points(), sampler=Position()) for _ in range(2))
    learner = toy_learner(Save(), data={"training": training, "other": other})
    other.sampler.at = 3
    learner.fit(2)
    assert [entry["training"]["sampler"]["at"] for entry in saved] == [0, 0, 0, 0, 4, 4, 4, 4]
    assert saved[0]["other"] == {"sampler": {"at": 3}}
    assert capture_run(learner).part("data")["training"] == {"sampler": {"at": 8}}


def test_a_state_is_put_back_and_a_loader_with_one_of_its_own_is_taken_as_it_is() -> None:
    data = {"training": DataLoader(Points(), sampler=Position()), "stream": Stream()}
    data["training"].sampler.at = 5
    saved = capture(data, None, None)
    assert saved == {"training": {"sampler": {"at": 5}}, "stream": {"": {"here": 1}}}
    again = {"training": DataLoader(Points(), sampler=Position()), "stream": Stream()}
    put_back(again, saved)
    assert (again["training"].sampler.at, again["stream"]) == (5, [{"here": 1}])


def test_a_part_that_has_no_state_any_more_is_refused_by_name() -> None:
    saved = capture({"training": DataLoader(Points(), sampler=Position())}, None, None)
    with pytest.raises(
        MismatchError, match=r"has a state of data\.training\.sampler, and .* no state_dict\.\nFix: resume"
    ):
        put_back({"training": DataLoader(Points())}, saved)
    put_back({}, saved)


class Beginning(DataLoader):
    """Begins a pass when it is asked for its state."""

    def state_dict(self):
        self.__dict__["_iterator"] = iter([])
        return {}

    def load_state_dict(self, state): ...


def test_a_loader_that_begins_a_pass_where_it_is_asked_between_two_is_refused():
    with pytest.raises(
        NotResumableError,
        match=r"data\.training could not be resumed: Beginning\.state_dict begins a pass .*\nFix: keep that",
    ):
        capture({"training": Beginning(Points())}, None, None)
