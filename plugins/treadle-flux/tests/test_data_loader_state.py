"""The state of a loader: where a pass goes on, and which pass it is."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle.errors import MismatchError
from treadle_flux import DataLoader


def make(rows: int = 10, batchsize: int = 3, *, shuffle: bool = True, partial: bool = True, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(torch.arange(rows), min(batchsize, rows), shuffle, partial, generator=generator)


def values(loader) -> list[list[int]]:
    return [batch.tolist() for batch in loader]


@settings(max_examples=50, deadline=None)
@given(
    rows=st.integers(1, 30),
    batchsize=st.integers(1, 7),
    shuffle=st.booleans(),
    partial=st.booleans(),
    passes=st.integers(0, 2),
    data=st.data(),
)
def test_after_any_batch_another_loader_goes_on_with_all_that_follows(
    rows, batchsize, shuffle, partial, passes, data
) -> None:
    loader = make(rows, batchsize, shuffle=shuffle, partial=partial)
    for _ in range(passes):
        values(loader)
    passing = iter(loader)
    for _ in range(data.draw(st.integers(0, len(loader)))):
        next(passing)
    again = make(rows, batchsize, shuffle=shuffle, partial=partial, seed=99)
    again.load_state_dict(copy.deepcopy(loader.state_dict()))
    rest = values(passing) if loader.state_dict()["batches"] else values(loader)
    assert values(again) == rest
    assert [values(again) for _ in range(2)] == [values(loader) for _ in range(2)]


def test_a_state_can_be_taken_again_before_the_pass_goes_on() -> None:
    loader = make()
    passing = iter(loader)
    next(passing)
    state = loader.state_dict()
    again, third = make(seed=1), make(seed=2)
    again.load_state_dict(state)
    third.load_state_dict(again.state_dict())
    assert values(third) == values(passing)


def test_what_was_given_is_not_gathered_again() -> None:
    loader = make(rows=1000, batchsize=10)
    passing = iter(loader)
    for _ in range(90):
        next(passing)
    again = make(rows=1000, batchsize=10, seed=1)
    again.load_state_dict(loader.state_dict())
    assert len(next(iter(again)).untyped_storage()) == 100 * 8


def test_a_pass_that_was_left_is_over() -> None:
    loader = make()
    for _ in loader:
        break
    assert loader.state_dict()["batches"] == 0
    assert len(values(loader)) == 4


def test_a_pass_inside_of_another_that_leaves_no_trace_leaves_the_state_as_it_was() -> None:
    loader = make()
    passing = iter(loader)
    next(passing)
    before, state = loader.generator.get_state(), loader.state_dict()
    values(loader)
    loader.generator.set_state(before)  # as a validation does
    assert loader.state_dict()["batches"] == 1
    assert loader.state_dict()["generator"].equal(state["generator"])


def test_an_iterator_that_was_left_behind_is_not_the_pass_under_way() -> None:
    loader = make()
    kept = iter(loader)
    next(kept)
    values(loader)
    assert loader.state_dict()["batches"] == 0


def test_a_pass_that_is_resumed_and_left_is_over() -> None:
    loader = make()
    passing = iter(loader)
    next(passing)
    again = make()
    again.load_state_dict(loader.state_dict())
    iter(again)
    assert again.state_dict()["batches"] == 0
    assert len(values(again)) == 4


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda loader: pickle.loads(pickle.dumps(loader))])
def test_a_copy_begins_a_pass_of_its_own_with_the_orders_to_come(copied) -> None:
    loader = make()
    passing = iter(loader)
    next(passing)
    again = copied(loader)
    assert again.state_dict()["batches"] == 0
    assert values(again) == values(loader)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"rows": 11}, "after 1 batches, is of a loader with rows=10, and this is DataLoader.11 observations"),
        ({"batchsize": 2}, r"batchsize=3.*\nFix: build the loader as it was"),
        ({"partial": False}, "partial=True"),
        ({"shuffle": False}, "shuffle=True"),
    ],
)
def test_a_loader_with_other_settings_is_refused_inside_of_a_pass(other, message: str) -> None:
    loader = make()
    passing = iter(loader)
    next(passing)
    with pytest.raises(MismatchError, match=f"(?s){message}"):
        make(**other).load_state_dict(loader.state_dict())


def test_between_two_passes_the_batches_may_be_others() -> None:
    loader, again = make(), make(batchsize=5, seed=3)
    again.load_state_dict(loader.state_dict())
    assert torch.cat(list(again)).equal(torch.cat(list(loader)))


@pytest.mark.parametrize("state", [None, {}, {"batches": 3}])
def test_what_is_not_a_state_is_refused(state) -> None:
    with pytest.raises(MismatchError, match=r"not one of a DataLoader.\nFix: pass what its method returned"):
        make().load_state_dict(state)


def test_more_batches_than_there_are_are_refused() -> None:
    with pytest.raises(MismatchError, match="after 7 batches, is of a loader with more batches"):
        make().load_state_dict({**make().state_dict(), "batches": 7})


def test_a_state_of_another_generator_is_refused() -> None:
    with pytest.raises(MismatchError, match="The state of the generator does not fit a Generator on cpu"):
        make().load_state_dict({**make().state_dict(), "generator": torch.zeros(3)})
