import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle.authoring import Mean
from treadle.errors import ArgumentValueError, DataError
from treadle.state.numbers.mean import BLOCK


def mean_of(values, weights=None):
    mean = Mean()
    for i, value in enumerate(values):
        mean.update(value) if weights is None else mean.update(value, weights[i])
    return mean


def test_the_mean_of_nothing_is_nothing() -> None:
    assert Mean().compute() is None


def test_the_mean_of_numbers_is_a_number() -> None:
    assert mean_of([1.0, 2.0, 6]).compute() == 3.0


def test_a_reset_forgets_all() -> None:
    mean = mean_of([1.0, 2.0], [3, 0])
    mean.reset()
    assert mean.compute() is None


def test_the_mean_of_tensors_is_a_tensor_of_double_precision() -> None:
    mean = mean_of([torch.tensor(1.0), torch.tensor([2.0])]).compute()
    assert torch.equal(mean, torch.tensor(1.5, dtype=torch.float64))


@pytest.mark.parametrize("n", [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_blocks_of_tensors_add_up(n) -> None:
    assert mean_of([torch.tensor(float(i)) for i in range(n)]).compute() == (n - 1) / 2


def test_no_more_tensors_are_kept_than_a_block() -> None:
    assert len(mean_of([torch.tensor(1.0)] * (3 * BLOCK + 5)).state_dict()["waiting"]) == 5


PLACES = {
    "numbers": (float, int),
    "numbers and weights that are none of a whole": (float, lambda rows: rows / 4),
    "tensors": (torch.tensor, int),
    "weights that are tensors": (float, torch.tensor),
    "both are tensors": (torch.tensor, torch.tensor),
    "half precision": (lambda value: torch.tensor(value, dtype=torch.bfloat16), int),
}


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(-8, 8), st.integers(0, 9)), min_size=1, max_size=BLOCK + 3))
def test_each_value_counts_as_often_as_its_weight_says(place, drawn) -> None:
    as_value, as_weight = PLACES[place]
    mean = mean_of([as_value(float(value)) for value, _ in drawn], [as_weight(weight) for _, weight in drawn]).compute()
    every = [value for value, weight in drawn for _ in range(weight)]
    assert float(mean) == pytest.approx(sum(every) / len(every) if every else math.nan, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("place", PLACES)
def test_a_value_without_weight_is_left_out_whatever_it_is(place) -> None:
    as_value, as_weight = PLACES[place]
    values, weights = [2.0, math.nan, 4.0, math.inf], [1, 0, 3, 0]
    assert float(mean_of(map(as_value, values), list(map(as_weight, weights))).compute()) == 3.5
    assert math.isnan(float(mean_of([as_value(math.nan), as_value(1.0)], [as_weight(1), as_weight(1)]).compute()))


SHARES = {
    "floats": lambda hits, rows: torch.tensor([1.0] * hits + [0.0] * (rows - hits)).mean().item(),
    "doubles": lambda hits, rows: hits / rows,
    "tensors": lambda hits, rows: torch.tensor([1.0] * hits + [0.0] * (rows - hits)).mean(),
    "tensors of doubles": lambda hits, rows: torch.tensor(hits / rows, dtype=torch.float64),
}


@pytest.mark.parametrize("weight", [int, float, torch.tensor], ids=["int", "float", "tensor"])
@pytest.mark.parametrize("share", SHARES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_equally_many_hits_give_equal_means_however_they_are_split(weight, share, data) -> None:
    hits = data.draw(st.lists(st.booleans(), min_size=1, max_size=300))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(hits)), max_size=BLOCK + 9)) | {len(hits)})
    batches = [hits[start:end] for start, end in zip([0, *cuts], cuts, strict=False)]
    mean = mean_of([SHARES[share](sum(batch), len(batch)) for batch in batches], [weight(len(b)) for b in batches])
    assert float(mean.compute()) == sum(hits) / len(hits)


FLOATS = st.floats(width=32, allow_nan=False, min_value=-(2.0**99), max_value=2.0**99)


@pytest.mark.parametrize("kind", [float, torch.tensor], ids=["numbers", "tensors"])
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(FLOATS, st.integers(1, 999))))
def test_no_other_value_changes_by_more_than_the_rounding_that_it_has(kind, drawn) -> None:
    for value, weight in drawn:
        mean = float(mean_of([kind(value)], [weight]).compute())
        assert mean == pytest.approx(value, rel=2**-24, abs=2**-140)


def test_values_of_half_precision_are_taken_as_they_are() -> None:
    value = torch.tensor(2.34375, dtype=torch.bfloat16)  # 87 / 37 in bfloat16
    assert float(mean_of([value], [37]).compute()) == pytest.approx(2.34375, rel=1e-12)


def test_values_of_which_none_has_a_weight_all_count_the_same() -> None:
    assert mean_of([1.0, 3.0], [None, None]).compute() == 2.0


@pytest.mark.parametrize("weights", [(None, 8), (8, None), (None, None, 8), (8, 8, None), (None, 0)])
def test_some_with_and_some_without_a_weight_are_refused(weights) -> None:
    with pytest.raises(DataError, match=r"Some batches of the epoch have rows and others have none.*\nFix: weigh all"):
        mean_of([1.0] * len(weights), weights)


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_weight_of_an_accelerator_that_cannot_be_used_is_refused_at_the_end(weight) -> None:
    mean = mean_of([1.0, 2.0], [torch.tensor(3.0), torch.tensor(weight)])
    with pytest.raises(ArgumentValueError, match=r"weights of some batches .* negative or not finite\.\nFix: return"):
        mean.compute()


@pytest.mark.parametrize("place", PLACES)
def test_a_mean_resumed_in_its_middle_is_bit_equal(place) -> None:
    as_value, as_weight = PLACES[place]
    values, weights = [as_value(0.1 * i) for i in range(100)], [as_weight(i % 7) for i in range(100)]
    resumed = Mean()
    resumed.load_state_dict(mean_of(values[:70], weights).state_dict())
    for value, weight in zip(values[70:], weights[70:], strict=True):
        resumed.update(value, weight)
    assert resumed.compute() == mean_of(values, weights).compute()
