"""`Stream`: data that never end, cut into epochs."""

import copy
import itertools
import random

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from treadle import Callback, CancelEpochException, FitResult, Stream, TrainingPhase, toy_learner
from treadle.errors import ArgumentTypeError, ArgumentValueError, DataError, MismatchError, NotResumableError


class Numbers:
    def __iter__(self):
        return itertools.count(1)


class Drawn(IterableDataset):
    def __iter__(self):
        while True:
            yield torch.rand(1), random.random()


class Counting:
    def __init__(self):
        self.count = 0

    def __iter__(self):
        while True:
            self.count += 1
            yield self.count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def rows():
    return TensorDataset(torch.arange(10.0))


MAKERS = {
    "without an end": Numbers,
    "drawn": lambda: DataLoader(Drawn(), batch_size=2),
    "shuffled, shorter than an epoch": lambda: DataLoader(rows(), batch_size=5, shuffle=True),
    "from a generator of its own": lambda: DataLoader(
        rows(), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(3)
    ),
    "a list": lambda: [1, 2, 3, 4, 5],
    "with a state": Counting,
}


def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value.tolist() if isinstance(value, torch.Tensor) else value


def test_each_epoch_goes_on_where_the_one_before_ended():
    stream = Stream([1, 2, 3, 4, 5], 3)
    assert (len(stream), [list(stream) for _ in range(4)]) == (3, [[1, 2, 3], [4, 5, 1], [2, 3, 4], [5, 1, 2]])


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("done", range(1, 10))
def test_it_goes_on_from_its_state_at_every_batch(maker, done):
    def epochs(stream):
        return itertools.chain.from_iterable(iter(stream) for _ in range(3))

    torch.manual_seed(0)
    random.seed(0)
    stream = Stream(maker(), 4)
    batches = epochs(stream)
    for _ in range(done):
        next(batches)
        torch.rand(1)  # as training draws in between
    state, torch_state, python_state = copy.deepcopy(stream.state_dict()), torch.get_rng_state(), random.getstate()
    own = getattr(stream.data, "generator", None)
    own_state = None if own is None else own.get_state()
    rest = [plain(batch) for batch in batches]
    after = torch.get_rng_state()
    again = Stream(maker(), 4)
    again.load_state_dict(state)
    torch.set_rng_state(torch_state)
    random.setstate(python_state)
    if own_state is not None:
        again.data.generator.set_state(own_state)
    first = [plain(batch) for batch in again]  # the rest of the epoch under way, or after its last batch none
    assert len(first) == -done % 4
    assert first + [plain(batch) for batch in itertools.islice(epochs(again), len(rest) - len(first))] == rest
    assert torch.equal(torch.get_rng_state(), after)


def test_an_epoch_that_was_cancelled_is_not_gone_on_with():
    stream = Stream(Numbers(), 3)
    assert list(itertools.islice(stream, 2)) == [1, 2]
    state = stream.state_dict()
    assert list(stream) == [3, 4, 5]
    again = Stream(Numbers(), 3)
    again.load_state_dict(state)
    assert list(again) == [3, 4, 5]


def test_a_state_can_be_asked_for_before_it_is_gone_on_from():
    stream, again = Stream(Numbers(), 3), Stream(Numbers(), 3)
    list(stream)
    again.load_state_dict(stream.state_dict())
    third = Stream(Numbers(), 3)
    third.load_state_dict(again.state_dict())
    assert list(third) == [4, 5, 6]


def test_a_learner_trains_over_it():
    class Endless:
        def __iter__(self):
            return itertools.cycle(toy_learner(nbatches=5).data.training)

    learner = toy_learner(data=(Stream(Endless(), 3),))
    assert learner.fit(2) == FitResult(epochs=2, steps=6)
    assert learner.fit(steps=4) == FitResult(epochs=1, steps=4)


def test_a_copy_begins_anew():
    stream = Stream(Numbers(), 2)
    list(stream)
    assert (list(copy.deepcopy(stream)), list(stream), repr(stream)) == ([1, 2], [3, 4], "Stream(Numbers, steps=2)")


def test_an_iterator_is_streamed_but_has_no_state():
    stream = Stream(itertools.count(1), 2)
    assert (list(stream), list(stream)) == ([1, 2], [3, 4])
    with pytest.raises(NotResumableError, match=r"data.Stream could not be resumed: count is an iterator"):
        stream.state_dict()


def test_data_that_count_by_themselves_have_no_state():
    class Counter:
        count = 0

        def __iter__(self):
            while True:
                self.count += 1
                yield self.count

    stream = Stream(Counter(), 2)
    list(stream)
    with pytest.raises(NotResumableError, match=r"\.count was 0 before a pass and 2 after it"):
        stream.state_dict()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, 2), DataError, "Stream needs an iterable of batches, got 3"),
        (([1], 0), ArgumentValueError, "steps must be a whole number of at least 1, got 0"),
        (([1], "a"), ArgumentTypeError, "steps must be a whole number of at least 1"),
        (([], 1), DataError, "Stream got no batch from list"),
    ],
)
def test_what_is_no_stream_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Stream(*arguments)


def test_data_without_a_batch_are_refused():
    class Empty:
        def __iter__(self):
            return iter(())

    with pytest.raises(DataError, match="Stream got no batch from Empty"):
        list(Stream(Empty(), 2))


def test_a_state_of_other_data_is_refused():
    stream = Stream(Numbers(), 3)
    list(stream)
    again = Stream([1], 3)
    again.load_state_dict(stream.state_dict())
    with pytest.raises(MismatchError, match="The data of a Stream have 1 batches, and 3 were done"):
        list(again)
    with pytest.raises(ArgumentTypeError, match=r"Stream.load_state_dict got no state of a Stream"):
        again.load_state_dict({"count": 3})


def test_a_cancelled_epoch_of_a_fit_gives_the_next_all_its_steps():
    seen = []

    class Short(Callback):
        def on_step_end(self, learner, phase: TrainingPhase):
            seen.append((learner.progress.epoch, learner.progress.step))
            if learner.progress.steps == 2:
                raise CancelEpochException("Enough.")

    toy_learner(Short(), data=(Stream(toy_learner(nbatches=16).data.training, 3),)).fit(2)
    assert seen == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]
