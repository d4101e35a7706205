"""How a run that was saved goes on: the loop's side of it, with a run that is made up."""

import random
from itertools import islice

import numpy
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from treadle import (
    ArgumentValueError,
    Callback,
    CancelEpochException,
    FitResult,
    Phase,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    run_epoch,
    step,
    toy_learner,
)
from treadle.loop.data.batches import batches
from treadle.loop.position import position_of
from treadle.state.random_state import RandomState, own_generators


class Saved:
    """A run that was saved after a number of epochs, or of batches of the next one."""

    def __init__(self, learner, rounds, done=None):
        self.learner, self.rounds, self.done, self.calls = learner, rounds, done, []

    def begin(self, length):
        self.calls.append(("begin", length.n, length.phases))
        if length.n == 1:
            raise ArgumentValueError("That fit is over.")
        self.learner.position.rounds = self.rounds

    def restore(self):
        self.calls.append("restore")
        if self.done is None:
            self.learner.position.resumption = None

    def rest(self, phase, data):
        self.calls.append(("rest", phase))
        self.learner.position.resumption = None
        if self.done is None:
            return None
        self.learner.position.skipped = self.done
        return islice(data, self.done, None)


class Events(Callback):
    def __init__(self):
        self.seen = []

    def on_fit_begin(self):
        self.seen.append("fit")

    def on_epoch_begin(self, phase):
        self.seen.append((type(phase).__name__, 0))

    def on_step_end(self, phase):
        self.seen[-1] = (self.seen[-1][0], self.seen[-1][1] + 1)


def resumed(*where):
    learner = toy_learner(Events(), nbatches=4)
    learner.position.resumption = saved = Saved(learner, *where)
    return learner, saved


PHASES = (TrainingPhase(), ValidationPhase())


@pytest.mark.parametrize(
    ("where", "seen"),
    [
        ((0,), [("TrainingPhase", 4), ("ValidationPhase", 4), ("TrainingPhase", 4), ("ValidationPhase", 4)]),
        ((1,), [("ValidationPhase", 4), ("TrainingPhase", 4), ("ValidationPhase", 4)]),
        ((2, 3), [("TrainingPhase", 1), ("ValidationPhase", 4)]),
        ((2, 4), [("TrainingPhase", 0), ("ValidationPhase", 4)]),
        ((3, 2), [("ValidationPhase", 2)]),
        ((4,), []),
    ],
)
def test_a_fit_does_what_is_left_and_dispatches_the_begin_of_what_was_under_way(where, seen):
    learner, saved = resumed(*where)
    assert learner.fit(2).cancelled is None
    assert learner.callbacks[0].seen == ["fit", *seen]
    assert saved.calls[:2] == [("begin", 2, PHASES), "restore"]
    assert learner.position.resumption is None


def test_the_state_is_put_back_after_the_begin_and_before_the_first_batch():
    learner, saved = resumed(0, 1)
    seen = learner.callbacks[0].seen
    saved.restore = lambda: saved.calls.append(list(seen))
    rest = saved.rest
    saved.rest = lambda phase, data: saved.calls.append(list(seen)) or rest(phase, data)
    learner.fit(2)
    assert saved.calls[1:3] == [["fit"], ["fit", ("TrainingPhase", 0)]]


def test_a_fit_that_is_refused_dispatches_nothing_and_can_be_tried_again():
    learner, saved = resumed(1)
    with pytest.raises(ArgumentValueError, match="That fit is over"):
        learner.fit(1)
    assert learner.callbacks[0].seen == []
    assert learner.position.resumption is saved
    assert learner.fit(2) == FitResult(epochs=1, steps=4)


def test_an_epoch_that_is_run_without_fit_is_resumed_as_well():
    learner, _ = resumed(0, 3)
    epoch(learner, TrainingPhase())
    epoch(learner, TrainingPhase())
    assert learner.callbacks[0].seen == [("TrainingPhase", 1), ("TrainingPhase", 4)]


# Where a learner stands.


class Where(Callback):
    """Notes where the learner stands when an epoch ends."""

    def __init__(self):
        self.seen = []

    def epoch(self, learner):
        position = position_of(learner)
        self.seen.append((position.length.n, len(position.phases), position.rounds))


def test_the_epochs_of_a_fit_are_counted_however_they_end():
    class Cancel(Callback):
        def on_epoch_begin(self, phase: ValidationPhase):
            raise CancelEpochException("Not this one.")

    where = Where()
    learner = toy_learner(where, Cancel())
    learner.fit(2)
    assert where.seen == [(2, 2, 0), (2, 2, 1), (2, 2, 2), (2, 2, 3)]
    assert (learner.position.length, learner.position.phases, learner.position.rounds) == (None, (), 0)


def test_an_epoch_inside_of_an_epoch_is_not_counted():
    class Inner(Callback):
        def on_step_end(self, phase: TrainingPhase):
            epoch(learner, ValidationPhase())

    where = Where()
    learner = toy_learner(where, Inner(), nbatches=2)
    learner.fit(2)
    assert [rounds for _, _, rounds in where.seen if rounds] == [1, *[2] * 3, 3]


# Random generators.


class Noisy(TensorDataset):
    def __init__(self):
        super().__init__(torch.rand(8, 1), torch.rand(8, 1))
        self.rng = numpy.random.default_rng(1)
        self.transform = random.Random(2)


def test_the_states_before_the_first_batch_give_the_same_order_again():
    learner = toy_learner(data=(DataLoader(Noisy(), 2, shuffle=True, generator=torch.Generator()),))
    seen = []

    class Look(Callback):
        state_access = {}

        def on_step_begin(self):
            seen.append(learner.step.xs)
            self.start = learner.position.at_start

    look = Look()
    learner.add_callback(look)
    learner.fit(1)
    look.start.random.put_back()
    assert all(torch.equal(xs, again) for xs, (again, _) in zip(seen, learner.data.training, strict=True))


def test_all_generators_that_loaders_hold_are_found_and_put_back():
    loader = DataLoader(Noisy(), generator=torch.Generator())
    found = list(own_generators([loader, loader]).values())
    assert {type(generator) for generator in found} == {torch.Generator, numpy.random.Generator, random.Random}

    def draw():
        return (
            torch.rand(1, generator=loader.generator).item(),
            loader.dataset.rng.random(),
            loader.dataset.transform.random(),
        )

    state = RandomState([loader])
    drawn = draw()
    state.put_back()
    assert draw() == drawn


def test_a_phase_with_an_epoch_of_its_own_is_resumed_if_it_says_so():
    class Own(Phase):
        data_name = "training"

        def epoch(self, learner, data):
            with run_epoch(learner, self):
                for batch in batches(learner, self, data):
                    step(learner, self, batch)

        def step(self, learner, batch):
            seen.append(batch)

    seen = []
    learner = toy_learner(data=([1, 2, 3],))
    learner.position.resumption = Saved(learner, 0, 2)
    epoch(learner, Own())
    assert seen == [3]


def test_the_levels_are_the_epochs_and_steps_that_run_inside_of_others():
    learner, seen = toy_learner(nbatches=1), []

    class Look(Callback):
        state_access = {"loop": Write}

        def on_step_end(self, learner, phase):
            seen.append([type(phase).__name__ for phase in position_of(learner).levels])
            if len(seen) == 1:
                learner.loop.step(phase, batch)
                learner.loop.epoch(ValidationPhase(), [batch])

    batch = learner.data.training[0]
    learner.add_callback(Look())
    learner.fit(1, (learner.data.training,))
    step(learner, ValidationPhase(), batch)
    assert seen == [
        ["TrainingPhase"],
        ["TrainingPhase", "TrainingPhase"],
        ["TrainingPhase", "ValidationPhase"],
        ["ValidationPhase"],
    ]
    assert position_of(learner).levels == []
