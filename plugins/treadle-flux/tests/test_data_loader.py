"""The loader of data in memory: every row once, in what order, and whose memory the batches are."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import toy_learner
from treadle.errors import ArgumentTypeError, ArgumentValueError, DataError
from treadle_flux import DataLoader, data_loader

np = pytest.importorskip("numpy")


class Point(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


def rows_of(loader: DataLoader) -> list[int]:
    return torch.cat(list(loader)).tolist()


@settings(max_examples=50, deadline=None)
@given(
    rows=st.integers(1, 60),
    batchsize=st.integers(1, 12),
    block=st.integers(1, 200),
    shuffle=st.booleans(),
    partial=st.booleans(),
)
def test_a_pass_has_every_row_once_but_for_a_tail_that_is_dropped(rows, batchsize, block, shuffle, partial) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_loader, "BLOCK", block)  # so that a pass has several blocks
        loader = DataLoader(torch.arange(rows), min(batchsize, rows), shuffle, partial)
    batches = [batch.tolist() for batch in loader]
    seen = [row for batch in batches for row in batch]
    size = loader.batchsize
    left = 0 if partial else rows % size
    assert len(batches) == len(loader)
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert len(set(seen)) == len(seen) == rows - left
    if not shuffle:
        assert seen == list(range(rows - left))
    elif partial:
        assert sorted(seen) == list(range(rows))


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 60), batchsize=st.integers(1, 12), seed=st.integers(0, 2**40), passes=st.integers(1, 3))
def test_equal_seeds_give_equal_orders_whatever_the_batches(rows, batchsize, seed, passes) -> None:
    def order(size: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        loader = DataLoader(torch.arange(rows), min(size, rows), shuffle=True, generator=generator)
        return [rows_of(loader) for _ in range(passes)]

    assert order(batchsize) == order(1)


def test_each_pass_has_an_order_of_its_own() -> None:
    loader = DataLoader(torch.arange(50), shuffle=True, generator=torch.Generator().manual_seed(0))
    assert rows_of(loader) != rows_of(loader)


def test_without_a_generator_the_order_follows_from_the_global_seed() -> None:
    def order() -> list[int]:
        torch.manual_seed(3)
        return rows_of(DataLoader(torch.arange(50), shuffle=True))

    assert order() == order()


def test_a_loader_draws_from_its_own_generator_alone() -> None:
    loader = DataLoader(torch.arange(50), shuffle=True)
    before = torch.get_rng_state()
    rows_of(loader)
    assert before.equal(torch.get_rng_state())


def test_without_shuffling_no_random_number_is_drawn() -> None:
    before = torch.get_rng_state()
    rows_of(DataLoader(torch.arange(50)))
    assert before.equal(torch.get_rng_state())


def test_batches_are_made_as_the_data_are() -> None:
    xs, ys = torch.arange(4.0), torch.arange(8).reshape(4, 2)
    (single,) = DataLoader(xs, 4)
    (pair,) = DataLoader((xs, ys), 4)
    (alone,) = DataLoader((xs,), 4)
    (point,) = DataLoader(Point(xs, ys), 4)
    (mapping,) = DataLoader({"x": (xs, ys), "y": {"z": ys}}, 4)
    assert single.equal(xs)
    assert isinstance(pair, tuple)
    assert (pair[0].equal(xs), pair[1].equal(ys), len(alone)) == (True, True, 1)
    assert isinstance(point, Point)
    assert point.y.equal(ys)
    assert isinstance(mapping["x"], tuple)
    assert mapping["y"]["z"].equal(ys)


def test_the_parts_of_a_row_stay_together() -> None:
    xs = torch.arange(100)
    loader = DataLoader({"x": xs, "parts": (-xs, xs.reshape(100, 1) * 2)}, 7, shuffle=True)
    for batch in loader:
        assert batch["parts"][0].equal(-batch["x"])
        assert batch["parts"][1].flatten().equal(batch["x"] * 2)


def test_arrays_become_tensors_of_the_same_type() -> None:
    array = np.arange(6, dtype=np.int16).reshape(3, 2)
    array.flags.writeable = False
    (batch,) = DataLoader((array, np.ones(3)), 3)
    assert (batch[0].dtype, batch[1].dtype, batch[0].tolist()) == (torch.int16, torch.float64, [[0, 1], [2, 3], [4, 5]])


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_that_is_changed_in_place_changes_neither_the_data_nor_other_batches(shuffle: bool) -> None:
    data = torch.arange(40.0)
    loader = DataLoader(data, 8, shuffle=shuffle)
    seen = []
    for batch in loader:
        seen += batch.tolist()
        batch.fill_(-1)
    assert sorted(seen) == list(range(40))
    assert data.equal(torch.arange(40.0))


def test_a_batch_can_need_a_gradient() -> None:
    for batch in DataLoader(torch.ones(4), 2, shuffle=True):
        batch.requires_grad_()
        batch.square().sum().backward()
        assert batch.grad.tolist() == [2, 2]


def test_more_data_than_a_block_are_gathered_piece_by_piece() -> None:
    loader = DataLoader(torch.zeros(100_000, 8), 1000, shuffle=True)
    storages = {batch.untyped_storage().data_ptr(): batch.untyped_storage().nbytes() for batch in list(loader)}
    assert len(storages) > 1
    assert max(storages.values()) <= data_loader.BLOCK


def test_a_batch_larger_than_the_data_is_all_of_them_with_a_warning(warnings: list[str]) -> None:
    loader = DataLoader(torch.arange(3), batchsize=8, partial=False)
    assert warnings == [
        "There are 3 observations, fewer than batchsize=8: they are one batch.\n"
        "Fix: pass a smaller batchsize:\n    DataLoader(data, batchsize=3)"
    ]
    assert [batch.tolist() for batch in loader] == [[0, 1, 2]]


def test_a_learner_takes_it_as_it_is() -> None:
    xs = torch.linspace(1, 2, 40).reshape(-1, 1)
    learner = toy_learner(data=(DataLoader((xs, 3 * xs), 8, shuffle=True), DataLoader((xs, 3 * xs), 40)))
    assert learner.fit(2).steps == 10


def test_it_shows_its_settings() -> None:
    assert repr(DataLoader(torch.arange(3), 2)) == (
        "DataLoader(3 observations, batchsize=2, shuffle=False, partial=True)"
    )


WRONG_DATA = [
    ([1, 2], ArgumentTypeError, "data must be a tensor, an array, or a tuple or a mapping of these, got a list"),
    ([torch.ones(2)], ArgumentTypeError, r"Fix: for one tensor of all of them.*\n    DataLoader\(torch.stack"),
    ((torch.ones(2), "ab"), ArgumentTypeError, r"data\[1\] must be a tensor, .* got a str"),
    (torch.utils.data.TensorDataset(torch.ones(2)), ArgumentTypeError, r"Fix: pass its tensors:\n    DataLoader\("),
    (np.array(["a", "b"]), ArgumentTypeError, "data is a ndarray of which no tensor can be made: .*str"),
    (np.arange(4)[::-1], ArgumentTypeError, r"Fix: convert it, for example:\n    numpy.ascontiguousarray"),
    (torch.tensor(1.0), ArgumentValueError, r"data is a single number.*\nFix: give it that axis"),
    ({"x": torch.ones(2, requires_grad=True)}, ArgumentValueError, r"data\['x'\] needs a gradient.*\nFix: take it"),
    (torch.eye(2).to_sparse(), ArgumentTypeError, r"data is sparse \(torch.sparse_coo\).\nFix: make it dense"),
    ((), ArgumentValueError, "data is an empty tuple"),
    ({"x": {}}, ArgumentValueError, r"data\['x'\] is an empty dict"),
    (torch.ones(0, 2), DataError, "The data have no observation"),
    (
        (torch.ones(3), {"y": torch.ones(4)}),
        DataError,
        r"different numbers of observations: data\[0\] has 3, data\[1\]\['y'\] has 4",
    ),
]


@pytest.mark.parametrize(("data", "error", "message"), WRONG_DATA)
def test_data_that_cannot_be_batched_are_refused(data, error, message: str) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        DataLoader(data)


def test_a_table_is_refused_with_its_array() -> None:
    class Frame:
        def to_numpy(self) -> None: ...

    with pytest.raises(ArgumentTypeError, match=r"got a Frame.\nFix: pass its array:\n    DataLoader\(frame.to_numpy"):
        DataLoader(Frame())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batchsize": 0}, ArgumentValueError, "batchsize must be a whole number of at least 1, got 0"),
        ({"batchsize": 1.5}, ArgumentTypeError, "batchsize must be a whole number of at least 1, got 1.5"),
        ({"shuffle": 1}, ArgumentTypeError, "shuffle must be an instance of bool, got 1"),
        ({"partial": None}, ArgumentTypeError, "partial must be an instance of bool, got None"),
        ({"generator": 3}, ArgumentTypeError, "generator must be an instance of Generator, got 3"),
    ],
)
def test_wrong_settings_are_refused(arguments, error, message: str) -> None:
    with pytest.raises(error, match=message):
        DataLoader(torch.arange(4), **arguments)
