import copy
import pickle

import pytest
import torch
from treadle import Callback, FitBegin, StepEnd, TrainingPhase, throttle, toy_learner
from treadle.authoring import preserved_state
from treadle.errors import CallbackError


class Counter(Callback):
    """Counts its steps, from any number on."""

    def __init__(self, start=0):
        self.count = start
        self.fits = 0

    def on_init(self):
        self.fits = 0

    def on_fit_begin(self):
        self.fits += 1

    def on_step_end(self, phase: TrainingPhase):
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_in_a_second_learner_it_starts_from_the_state_in_which_it_joined_its_first_one() -> None:
    counter = Counter(5)
    folds = []
    for _ in range(3):
        toy_learner(counter, nbatches=4).fit(2)
        folds.append((counter.count, counter.fits))
    assert folds == [(13, 1)] * 3


def test_among_the_callbacks_of_one_learner_it_goes_on_where_it_was() -> None:
    counter = Counter()
    learner = toy_learner(counter, nbatches=4)
    learner.fit(1)
    learner.add_callback(Callback())
    learner.remove_callback(Counter)
    learner.set_callbacks([counter])
    learner.fit(1)
    assert counter.count == 8


def test_a_fit_of_an_earlier_learner_is_refused_before_its_first_step() -> None:
    counter = Counter()
    first = toy_learner(counter)
    second = toy_learner(counter)
    with pytest.raises(CallbackError, match=r"Counter joined another learner after this.*\nFix: .*\n    learner\.rep"):
        first.fit(1)
    assert (first.progress.steps, counter.count) == (0, 0)
    second.fit(1)
    first.set_callbacks([counter])
    first.fit(1)
    assert counter.count == 16


@pytest.mark.parametrize("again", ["the same", "a new one", "none"])
def test_inside_of_a_throttle_it_starts_again_as_well(again) -> None:
    counter = Counter()
    throttled = throttle(counter, StepEnd, freq=3)
    toy_learner(throttled, nbatches=4).fit(1)
    assert (counter.count, throttled.condition.count) == (2, 4)
    second = {"the same": throttled, "a new one": throttle(counter, FitBegin, freq=2), "none": counter}[again]
    learner = toy_learner(second, nbatches=4)
    assert counter.count == 0
    assert again != "the same" or throttled.condition.count == 0
    learner.fit(1)


def test_a_state_with_tensors_that_change_in_place_is_the_one_of_the_beginning() -> None:
    class Sum(Counter):
        def on_step_end(self, phase: TrainingPhase):
            self.count += torch.ones(1)

    callback = Sum(torch.zeros(1))
    toy_learner(callback).fit(1)
    toy_learner(callback)
    assert callback.count.item() == 0


def test_a_learner_that_is_refused_leaves_it_where_it_was() -> None:
    class Fails(Callback):
        def on_init(self):
            raise ZeroDivisionError

    counter = Counter()
    first = toy_learner(counter)
    first.fit(1)
    with pytest.raises(ZeroDivisionError):
        toy_learner(counter, Fails())
    first.fit(1)
    assert counter.count == 32


def test_one_whose_state_was_not_to_be_had_is_refused_by_a_second_learner_only() -> None:
    class Broken(Counter):
        def state_dict(self):
            raise ZeroDivisionError

    broken = Broken()
    toy_learner(broken).fit(1)
    with pytest.raises(CallbackError, match=r"Broken joins a second learner, .* its state_dict failed .*\nFix: make"):
        toy_learner(broken)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda learner: pickle.loads(pickle.dumps(learner))])
def test_a_copy_of_a_learner_goes_on_with_copies_of_its_callbacks(copied) -> None:
    learner = toy_learner(Counter())
    learner.fit(1)
    again = copied(learner)
    for one in (learner, again):
        one.fit(1)
        assert one.callbacks[0].count == 32


def test_a_trial_with_another_learner_gives_it_back() -> None:
    counter = Counter()
    learner = toy_learner(counter)
    learner.fit(1)
    with preserved_state([counter]):
        toy_learner(counter).fit(1)
    learner.fit(1)
    assert counter.count == 32
