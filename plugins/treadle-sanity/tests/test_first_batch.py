import random
from collections import deque

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset
from treadle_sanity import SkipCheck
from treadle_sanity.first_batch import first_batch

ROWS = torch.arange(6).reshape(6, 1)


class Counted:
    """A custom loader that keeps count and shuffles its order in place."""

    def __init__(self) -> None:
        self.epoch = 0
        self.order = [0, 1, 2, 3]
        self.positions = np.arange(4)
        self.python = random.Random(0)
        self.numpy = np.random.default_rng(0)
        self.torch = torch.Generator().manual_seed(0)

    def __len__(self) -> int:
        return 4

    def __iter__(self):
        self.epoch += 1
        self.python.shuffle(self.order)
        self.numpy.shuffle(self.positions)
        torch.randperm(4, generator=self.torch)
        return iter([(self.order[0], self.positions[0])])


def test_a_list_gives_its_first_batch():
    assert first_batch([(1, 2), (3, 4)], "data.training") == (1, 2)


def test_a_custom_loader_is_left_as_it_was():
    loader, untouched = Counted(), Counted()
    batch = first_batch(loader, "data.training")
    assert loader.epoch == 0
    assert loader.order == [0, 1, 2, 3]
    assert loader.positions.tolist() == [0, 1, 2, 3]
    assert next(iter(loader)) == batch == next(iter(untouched))


def test_a_data_loader_with_its_own_generator_is_not_advanced():
    def order(look: bool) -> list[list[int]]:
        generator = torch.Generator().manual_seed(0)
        loader = DataLoader(TensorDataset(ROWS), batch_size=2, shuffle=True, generator=generator)
        if look:
            first_batch(loader, "data.training")
        return [batch.flatten().tolist() for (batch,) in loader]

    assert order(look=True) == order(look=False)


def test_a_sampler_with_its_own_generator_is_not_advanced():
    sampler = RandomSampler(ROWS, generator=torch.Generator().manual_seed(1))
    before = sampler.generator.get_state()
    first_batch(DataLoader(TensorDataset(ROWS), batch_size=2, sampler=sampler), "data.training")
    assert torch.equal(sampler.generator.get_state(), before)


def test_a_data_loader_with_workers_gives_its_batch_without_starting_them():
    loader = DataLoader(TensorDataset(ROWS), batch_size=2, num_workers=2, persistent_workers=True, timeout=5)
    (batch,) = first_batch(loader, "data.training")
    assert batch.flatten().tolist() == [0, 1]
    assert loader._iterator is None
    assert (loader.num_workers, loader.timeout, loader.persistent_workers) == (2, 5, True)


def test_what_a_data_set_opens_for_itself_is_not_kept():
    class Lazy(Dataset):
        file = None

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> int:
            self.file = self.file or "opened"
            return index

    loader = DataLoader(Lazy(), batch_size=2)
    assert first_batch(loader, "data.training").tolist() == [0, 1]
    assert loader.dataset.file is None


def test_workers_that_were_started_before_stay_where_they_are():
    loader = DataLoader(TensorDataset(ROWS), batch_size=2, num_workers=1, persistent_workers=True)
    list(loader)
    workers = loader._iterator
    first_batch(loader, "data.training")
    assert loader._iterator is workers
    assert len(list(loader)) == 3


def test_a_queue_and_a_count_are_as_they_were():
    class Loader:
        def __init__(self) -> None:
            self.queue = deque([1, 2, 3])
            self.counts = {"batches": 0, "parts": [0]}

        def __len__(self) -> int:
            return 3

        def __iter__(self):
            self.counts["batches"] += 1
            self.counts["parts"][0] += 1
            yield self.queue.popleft()

    loader = Loader()
    assert first_batch(loader, "data.training") == 1
    assert (loader.queue, loader.counts) == (deque([1, 2, 3]), {"batches": 0, "parts": [0]})


@pytest.mark.parametrize("stream", [iter([(1, 2)]), (pair for pair in [(1, 2)])])
def test_an_iterator_keeps_its_first_batch(stream):
    with pytest.raises(SkipCheck, match=r"data\.training is an iterator and would lose its first batch; pass a list"):
        first_batch(stream, "data.training")
    assert next(stream) == (1, 2)


def test_a_loader_that_holds_an_iterator_keeps_its_first_batch():
    class Once:
        def __init__(self) -> None:
            self.batches = iter([(1, 2)])

        def __len__(self) -> int:
            return 1

        def __iter__(self):
            return self.batches

    once = Once()
    with pytest.raises(SkipCheck, match=r"holds an iterator .* \(data\[0\]\.batches is a list_iterator under way"):
        first_batch(once, "data.training")
    assert list(once) == [(1, 2)]


def test_what_only_works_in_a_worker_is_left_to_it():
    class InWorker(TensorDataset):
        def __getitem__(self, index):
            if torch.utils.data.get_worker_info() is None:
                raise RuntimeError("not here")
            return super().__getitem__(index)

    loader = DataLoader(InWorker(ROWS), batch_size=2, num_workers=1)
    with pytest.raises(
        SkipCheck, match=r"gives no batch outside of its worker processes \(RuntimeError\('not here'\)\)"
    ):
        first_batch(loader, "data.training")


def test_data_that_turn_out_to_be_empty_are_left_to_the_loop():
    class Empty:
        def __len__(self) -> int:
            return 2

        def __iter__(self):
            return iter(())

    with pytest.raises(SkipCheck, match=r"data\.training has no batch"):
        first_batch(Empty(), "data.training")
