import random

import pytest
import torch
from torch.utils.data import DataLoader, Sampler, TensorDataset
from treadle.authoring import RandomState
from treadle_checkpoint import MismatchError, NotResumableError
from treadle_checkpoint.batch_digest import batch_digest
from treadle_checkpoint.fast_forward import fast_forward

POINTS = TensorDataset(torch.arange(12.0).reshape(12, 1))


def by_hand(data, done, between=lambda: None):
    """Take a number of batches, with something in between; the rest, and the last one's digest."""
    start = RandomState([data])
    batches = iter(data)
    for _ in range(done):
        batch = next(batches)
        between()
    now, rest = RandomState([data]), list(batches)
    return start, now, batch_digest(batch), rest


@pytest.mark.parametrize("done", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize(
    "data",
    [
        [torch.full((2,), float(i)) for i in range(6)],
        DataLoader(POINTS, 2, shuffle=True),
        DataLoader(POINTS, 2, shuffle=True, generator=torch.Generator()),
        DataLoader(POINTS, 2, shuffle=True, num_workers=1),
    ],
    ids=["list", "loader", "generator", "worker"],
)
def test_the_rest_of_an_epoch_does_not_depend_on_random_numbers_drawn_in_between(data, done):
    start, now, digest, rest = by_hand(data, done, between=lambda: torch.rand(3))
    start.put_back()
    left = fast_forward(data, done, digest, "training")
    now.put_back()
    assert [batch_digest(batch) for batch in left] == [batch_digest(batch) for batch in rest]


def test_another_batch_or_too_few_of_them_are_refused():
    batches = [torch.full((2,), float(i)) for i in range(3)]
    digest = batch_digest(batches[1])
    assert len(list(fast_forward(batches, 2, digest, "training"))) == 1
    with pytest.raises(
        MismatchError, match=r"Batch 2 of data.training differs from that of the saved run[^\n]*\nFix: .* state_dict"
    ):
        fast_forward([batches[0], batches[2]], 2, digest, "training")
    with pytest.raises(
        MismatchError, match=r"data.test has 3 batches, and 4 were done when the run was saved.\nFix: resume"
    ):
        fast_forward(batches, 4, None, "test")


def test_a_batch_whose_content_is_drawn_is_not_compared():
    class Drawn:
        def __iter__(self):
            while True:
                yield torch.rand(2)

    next(fast_forward(Drawn(), 2, batch_digest(torch.zeros(2)), "training"))


class AsNeeded(Sampler[int]):
    """Draws while the loader's workers run ahead."""

    def __iter__(self):
        return (random.randrange(12) for _ in range(12))

    def __len__(self):
        return 12


def test_a_sampler_that_draws_while_workers_run_ahead_is_refused():
    loader = DataLoader(POINTS, 2, sampler=AsNeeded(), num_workers=1)
    with pytest.raises(NotResumableError, match=r"The sampler of data.training draws .* while its workers run ahead"):
        fast_forward(loader, 2, None, "training")
