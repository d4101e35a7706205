import pytest
import torch
from treadle import Callback, CancelFittingException, PropDict, Series, TrainingPhase, Write, toy_learner
from treadle.testing.checks.state import Capture, FromMemory, State, gathered, not_plain, put


def test_a_counter_that_no_checkpoint_keeps_is_found(failed):
    class Forgets(Callback):
        state_access = {"cbstate.count": Write}
        count = 0

        def on_step_end(self, learner, phase: TrainingPhase):
            self.count += 1
            learner.cbstate.count = self.count

    assert failed(Forgets) == {
        "state": "Resumed from a checkpoint, the contents of `cbstate.count` differ at the end.\n"
        "Fix: return from state_dict all that its handlers go on from, and take it over in load_state_dict."
    }


def test_a_decision_that_differs_after_a_checkpoint_is_found(failed):
    class Stops(Callback):
        steps = 0

        def on_step_end(self, learner, phase: TrainingPhase):
            self.steps += 1
            if self.steps == 20:
                raise CancelFittingException("20 steps")

    assert failed(Stops)["state"].startswith(
        "Resumed from a checkpoint, the fit ended after 2 epochs and 32 steps instead of "
        "after 1 epochs and 20 steps (cancelled: 20 steps).\nFix: "
    )


def test_a_state_that_is_loaded_wrongly_is_found(Mean, failed):
    class Loses(Mean):
        def load_state_dict(self, state):
            self.total = state["total"]

    assert failed(Loses)["state"].startswith(
        "After load_state_dict, state_dict gives something else than was loaded.\nFix: "
    )


def test_a_state_without_a_way_back_is_found(failed):
    class OneWay(Callback):
        def on_step_end(self): ...

        def state_dict(self):
            return {"a": 1}

    assert "OneWay has no `load_state_dict`, and there is state to load: a." in failed(OneWay)["state"]


def test_a_state_that_is_not_plain_is_found_with_its_place(Mean, failed):
    class Keeps(Mean):
        def state_dict(self):
            return {"history": [{"seen": {1, 2}}]}

        def load_state_dict(self, state): ...

    assert failed(Keeps)["state"] == (
        "state_dict gives a set under 'history' at 0 under 'seen'.\nFix: keep what a checkpoint can hold: tensors, "
        "None, bool, int, float and str, and lists, tuples and dictionaries of these."
    )


def test_an_entry_of_cbstate_that_is_not_plain_is_found(failed):
    class Keeps(Callback):
        state_access = {"cbstate.seen": Write}

        def on_init(self, learner):
            learner.cbstate.seen = {1}

    assert failed(Keeps)["state"] == (
        "`cbstate.seen` holds a set.\nFix: keep what a checkpoint can hold: tensors, None, bool, int, float and str, "
        "and lists, tuples and dictionaries of these. Or give it state_dict and load_state_dict."
    )


# A checkpoint in memory.


class Weigh(Callback):
    """Counts steps, in its own state and in `cbstate`."""

    state_access = {"cbstate.counted": Write}

    def __init__(self) -> None:
        self.steps = 0

    def on_init(self, learner):
        learner.cbstate.counted = Series()

    def on_fit_begin(self):
        self.steps = 0

    def on_step_end(self, learner, phase: TrainingPhase):
        self.steps += 1
        learner.cbstate.counted.push(self.steps, self.steps / 2)

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def captured(n: int):
    """A learner that trained, its callback, and what was captured."""
    weigh = Weigh()
    capture = Capture([weigh])
    learner = toy_learner(weigh, capture, nbatches=3)
    learner.fit(n)
    return learner, weigh, capture.taken


def test_a_run_goes_on_from_memory_as_if_it_had_never_stopped():
    learner, weigh, checkpoint = captured(3)
    again = Weigh()
    resumed = toy_learner(again, nbatches=3)
    FromMemory(resumed, [again], checkpoint)
    assert (again.steps, len(resumed.cbstate.counted)) == (3, 3)
    assert resumed.fit(3).steps == 6
    assert again.steps == weigh.steps == 9
    assert resumed.cbstate.counted == learner.cbstate.counted
    assert torch.equal(resumed.model.weight, learner.model.weight)
    assert resumed.progress.epochs == learner.progress.epochs == 3


def test_a_fit_of_one_epoch_leaves_nothing_to_go_on_from():
    assert captured(1)[2] is None


def test_entries_of_cbstate_come_back_into_the_objects_that_are_there():
    series, there = Series(), Series()
    series.push(1, 2.0)
    entries = {"loss": there}
    put(entries, "loss", gathered(series))
    assert entries["loss"] is there
    assert there.last == (1, 2.0)


def test_entries_that_are_not_there_are_made():
    series = Series()
    series.push(1, 2.0)
    entries = {}
    put(entries, "metrics", gathered(PropDict(loss=series, epoch=[1])))
    assert entries["metrics"].loss == series
    assert entries["metrics"].epoch == [1]


@pytest.mark.parametrize(
    ("value", "odd"),
    [
        ({"a": [1, 2.5, "x", None, True, torch.ones(1), (b"y",)]}, []),
        ({"a": {1: {2}}}, ["a set under 'a' under 1"]),
        ([0, print], ["a builtin_function_or_method at 1"]),
        ({(1, 2): 3}, ["a key of type tuple"]),
        (State({"a": object()}, None), ["a object under 'a'"]),
    ],
)
def test_what_no_checkpoint_holds_is_found_with_its_place(value, odd):
    assert list(not_plain(value)) == odd
