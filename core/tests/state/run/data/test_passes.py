import random
from itertools import count, cycle
from pathlib import Path

import numpy
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler
from treadle import Callback, Read, StepEnd, TrainingPhase, throttle, toy_learner
from treadle.errors import CancelEpochException, MismatchError, NotResumableError
from treadle.state.run.capture import capture_run


class Numbers(Dataset):
    """Pairs of a number and its triple."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if not 0 <= index < 8:
            raise IndexError(index)
        return torch.full((1,), float(index)), torch.full((1,), 3.0 * index)


class Order(Sampler):
    """Draws an order of its own for each pass."""

    def __init__(self):
        self.epoch = 0

    def __len__(self):
        return 8

    def order(self):
        return torch.randperm(8, generator=torch.Generator().manual_seed(self.epoch)).tolist()

    def __iter__(self):
        return iter(self.order())


class Counts(Order):
    def __iter__(self):
        order = self.order()
        self.epoch += 1
        return iter(order)


class CountsAtTheEnd(Order):
    def __iter__(self):
        yield from self.order()
        self.epoch += 1


class Shuffles(Order):
    """Shuffles an order that it keeps."""

    def __init__(self, kept):
        self.kept = kept

    def __iter__(self):
        if isinstance(self.kept, list):
            random.shuffle(self.kept)
        elif isinstance(self.kept, torch.Tensor):
            self.kept.copy_(self.kept[torch.randperm(8)])
        else:
            numpy.random.shuffle(self.kept)
        return iter([int(index) for index in self.kept])


class CountsInADict(Order):
    def __init__(self):
        self.state = {"pass": 0}

    def __iter__(self):
        self.state["pass"] += 1
        return iter(torch.randperm(8, generator=torch.Generator().manual_seed(self.state["pass"])).tolist())


class Chunks(IterableDataset):
    """A stream that goes on where it stood."""

    def __init__(self):
        self.stream = cycle(range(8))

    def __iter__(self):
        return (Numbers()[next(self.stream)] for _ in range(6))


class FirstChunkLater(Chunks):
    def __init__(self):
        self.stream = None

    def __iter__(self):
        if self.stream is None:
            self.stream = (i % 8 for i in count())
        return super().__iter__()


class LoaderThatCounts:
    def __init__(self):
        self.epoch = 0

    def __iter__(self):
        self.epoch += 1
        return iter([Numbers()[self.epoch % 8]] * 3)


class CountingLoader(DataLoader):
    passes = 0

    def __iter__(self):
        self.passes = self.passes + 1
        return super().__iter__()


def loader(sampler):
    return DataLoader(Numbers(), 2, sampler=sampler)


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (loader(Counts()), r"data\.training\.sampler\.epoch was 0 before a pass and 1 after it"),
        (loader(CountsAtTheEnd()), r"data\.training\.sampler\.epoch was 0 before a pass and 1 after it"),
        (loader(CountsInADict()), r"data\.training\.sampler\.state\['pass'\] was 0"),
        (loader(Shuffles(list(range(8)))), r"data\.training\.sampler\.kept was in one order"),
        (loader(Shuffles(torch.arange(8))), r"data\.training\.sampler\.kept was"),
        (loader(Shuffles(numpy.arange(8))), r"data\.training\.sampler\.kept was"),
        (LoaderThatCounts(), r"data\.training\.epoch was 0"),
        (CountingLoader(Numbers(), 2), r"data\.training\.passes was"),
        (DataLoader(Chunks(), 2), r"data\.training\.dataset\.stream is a cycle under way"),
        (DataLoader(FirstChunkLater(), 2), r"data\.training\.dataset\.stream is a generator under way"),
    ],
    ids=lambda value: type(getattr(value, "sampler", value)).__name__ if not isinstance(value, str) else None,
)
def test_data_whose_second_pass_would_begin_otherwise_are_refused_at_the_first_save_by_name(data, path) -> None:
    learner = toy_learner(data=(data,))
    learner.fit(1)
    with pytest.raises(NotResumableError, match=rf"A run over data.training could not be resumed: {path}[^\n]*\nFix: "):
        capture_run(learner)


class WithState(Counts):
    def state_dict(self):
        return {"epoch": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]


class OwnIndex:
    """Counts its batches, from the beginning of each pass."""

    def __init__(self):
        self.index = self.length = None
        self.index = 0

    def __iter__(self):
        self.index = 0
        for self.index in range(1, 5):
            yield Numbers()[self.index]


class OwnIterator:
    """Keeps the iterator of a pass."""

    def __init__(self):
        self.iterator = None

    def __iter__(self):
        self.iterator = iter([Numbers()[1], Numbers()[2]])
        yield from self.iterator


class Cached(Numbers):
    """Keeps what it has read, and how many there are."""

    def __init__(self):
        self.cache, self.length = {}, None

    def __len__(self):
        self.length = 8
        return self.length

    def __getitem__(self, index):
        return self.cache.setdefault(index, super().__getitem__(index))


class NewOrder(Order):
    def __iter__(self):
        self.order = torch.randperm(8).tolist()
        return iter(self.order)


class Lines(Numbers):
    """Seeks in an open file."""

    def __init__(self, file):
        self.file = file

    def __getitem__(self, index):
        self.file.seek(index)
        self.file.read(1)
        return super().__getitem__(index)


@pytest.mark.parametrize(
    "data",
    [
        loader(Order()),
        loader(WithState()),
        loader(NewOrder()),
        OwnIndex(),
        OwnIterator(),
        DataLoader(Cached(), 2, shuffle=True),
        DataLoader(Lines(Path(__file__).open("rb")), 2),  # noqa: SIM115
        [Numbers()[0]],
    ],
    ids=lambda value: type(getattr(value, "sampler", value)).__name__,
)
def test_data_that_begin_each_pass_alike_or_offer_a_state_can_be_saved_at_any_step(data) -> None:
    saved = []

    class Save(Callback):
        def on_step_end(self, phase: TrainingPhase):
            saved.append(capture_run(learner))

    learner = toy_learner(Save(), data=(data,))
    learner.fit(3)
    assert capture_run(learner).part("progress")["steps"] == len(saved)


def test_whether_another_pass_begins_alike_is_tried_without_a_trace() -> None:
    def weights(save):
        torch.manual_seed(1)
        learner = toy_learner(data=(loader(NewOrder()),))
        for _ in range(3):
            learner.fit(1)
            if save:
                capture_run(learner)
        return learner.model.weight.item(), learner.data.training.sampler.order, torch.rand(1).item()

    assert weights(save=True) == weights(save=False)


class SetEpoch(Callback):
    """Tells the sampler which epoch it is."""

    def __init__(self, end=False):
        self.end = end

    def on_epoch_begin(self, learner, phase: TrainingPhase):
        learner.data.training.sampler.epoch = learner.progress.epoch

    def on_epoch_end(self, learner, phase: TrainingPhase):
        if self.end:
            learner.data.training.sampler.epoch = learner.progress.epoch + 1

    state_access = {"data": Read}


@pytest.mark.parametrize("end", [False, True])
def test_a_sampler_whose_epoch_a_callback_sets_can_be_saved(end) -> None:
    learner = toy_learner(SetEpoch(end), data=(loader(Order()),))
    for _ in range(3):
        learner.fit(1)
        capture_run(learner)


def test_after_a_pass_that_was_cancelled_the_next_whole_one_is_looked_at() -> None:
    class Stop(Callback):
        def on_step_end(self, phase: TrainingPhase):
            raise CancelEpochException

    learner = toy_learner(Stop(), data=(loader(Counts()),))
    learner.fit(1)
    learner.remove_callback(Stop)
    learner.fit(1)
    with pytest.raises(NotResumableError, match=r"sampler\.epoch was"):
        capture_run(learner)


def test_an_epoch_that_is_resumed_with_data_at_another_place_is_refused_by_name() -> None:
    learner = toy_learner(SetEpoch(), data=(loader(Order()),))
    starts = []
    learner.add_callback(throttle(Keep(starts, learner), StepEnd, freq=4))
    learner.fit(3)
    assert [start.values for start in starts] == [
        {},
        {"data.training.sampler.epoch": 2},
        {"data.training.sampler.epoch": 3},
    ]
    again = toy_learner(data=(loader(Order()),))
    passes = again.position.passes_over(again.data, TrainingPhase(), again.data.training)
    with pytest.raises(MismatchError, match=r"differ from .*: data\.training\.sampler\.epoch was 3 and is 0\."):
        passes.resume(starts[-1].values)


class Keep(Callback):
    def __init__(self, starts, learner):
        self.starts, self.learner = starts, learner

    def on_step_end(self, phase: TrainingPhase):
        self.starts.append(self.learner.position.at_start)
