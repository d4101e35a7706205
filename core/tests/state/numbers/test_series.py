import math
import tracemalloc
from array import array

import pytest
import torch
from treadle import Series
from treadle.state.numbers.series import BLOCK, Column


def series(*values: float) -> Series:
    made = Series()
    for iteration, value in enumerate(values, 1):
        made.push(iteration, value)
    return made


class Remote(torch.Tensor):
    """A tensor that says it is on an accelerator, and refuses whatever would wait for one."""

    is_cpu = property(lambda self: False)
    reads = 0

    def item(self):
        type(self).reads += 1
        raise AssertionError("a synchronisation")

    tolist = __float__ = __bool__ = __int__ = item

    def to(self, *args, **kwargs):
        moved = super().to(*args, **kwargs)
        return moved.as_subclass(torch.Tensor) if args[0] == "cpu" else moved


def remote(value: float) -> torch.Tensor:
    return torch.tensor(value).as_subclass(Remote)


def test_it_keeps_numbers_with_their_iterations() -> None:
    losses = Series()
    losses.push(3, 0.5)
    losses.push(7, 2)
    assert (list(losses.iterations), list(losses.values), losses.last, len(losses)) == ([3, 7], [0.5, 2.0], (7, 2.0), 2)


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor(0.25),
        torch.tensor([0.25]),
        torch.tensor([[0.25]], dtype=torch.float64),
        torch.tensor(0.25, requires_grad=True),
        torch.tensor(0.25, dtype=torch.bfloat16),
    ],
    ids=["scalar", "one element", "double", "with a gradient", "bfloat16"],
)
def test_a_tensor_with_one_element_is_a_number(value) -> None:
    assert series(value).last == (1, 0.25)


def test_values_are_kept_in_double_precision() -> None:
    assert series(1 / 3, torch.tensor(1 / 3, dtype=torch.float64)).values[0] == 1 / 3
    assert series(torch.tensor(1 / 3, dtype=torch.float64)).values[0] == 1 / 3


def test_values_that_are_not_finite_are_kept() -> None:
    values = series(math.nan, math.inf, -math.inf).values
    assert math.isnan(values[0])
    assert list(values[1:]) == [math.inf, -math.inf]


def test_an_empty_one_has_no_last() -> None:
    with pytest.raises(IndexError, match=r"^Nothing is recorded in this series yet\.$"):
        _ = Series().last
    assert (len(Series()), list(Series().values), list(Series().iterations)) == (0, [], [])


@pytest.mark.parametrize("value", [torch.ones(2), "much", None], ids=["two elements", "text", "none"])
def test_what_is_not_a_number_is_refused_and_not_recorded(value) -> None:
    losses = series(1.0)
    with pytest.raises((TypeError, RuntimeError)):
        losses.push(2, value)
    assert (len(losses), len(losses.values)) == (1, 1)


def test_two_are_equal_if_their_iterations_and_values_are() -> None:
    assert series(1, 2) == series(1, 2)
    assert series(1, 2) != series(1, 3)
    assert series(1) != series(1, 1)
    assert series(1) != [1]


def test_it_cannot_be_hashed() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Series())


def test_it_is_shown_by_its_length() -> None:
    assert (repr(series(1, 2)), repr(Series())) == ("Series(2 values)", "Series(empty)")


def test_a_number_costs_16_bytes() -> None:
    count, recorded = 10_000, Series()
    tracemalloc.start()
    for iteration in range(count):
        recorded.push(iteration, 0.5)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 16 <= used / count < 1.2 * 16  # an array keeps some room to grow


@pytest.mark.parametrize("count", [1, 5, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_values_on_a_device_come_back_in_order(count) -> None:
    recorded = series(*map(remote, range(count)))
    assert list(recorded.values) == list(range(count))
    assert recorded.last == (count, count - 1)


def test_recording_never_waits_for_the_device() -> None:
    Remote.reads = 0
    recorded = series(*map(remote, range(5 * BLOCK)))
    assert (len(recorded), Remote.reads) == (5 * BLOCK, 0)


def test_values_that_wait_for_their_copy_stay_few() -> None:
    recorded = Series()
    for i in range(10 * BLOCK + 3):
        recorded.push(i, remote(i))
        assert len(recorded._waiting) < BLOCK
        assert len(recorded._copies) <= 1
    assert len(recorded._values) == 9 * BLOCK


def test_numbers_and_tensors_of_several_places_keep_their_order() -> None:
    recorded = series(0.0, torch.tensor(1.0), remote(2.0), 3.0, torch.tensor(4.0), remote(5.0))
    assert list(recorded.values) == [0, 1, 2, 3, 4, 5]
    recorded.push(7, 6.0)
    assert list(recorded.values) == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("place", [torch.Tensor, Remote])
def test_a_value_is_taken_when_it_is_pushed(place) -> None:
    value = torch.tensor(1.0, dtype=torch.float64)
    recorded = series(value.as_subclass(place))
    value.add_(1)
    assert recorded.last == (1, 1.0)


def test_a_recorded_value_holds_no_graph() -> None:
    weight = torch.tensor(1.0, requires_grad=True)
    recorded = Series()
    recorded.push(1, (weight * 2).as_subclass(Remote))
    assert not recorded._waiting[0].requires_grad


@pytest.mark.parametrize("count", [0, 3, BLOCK + 3])
def test_its_state_makes_an_equal_one(count) -> None:
    recorded = series(*map(remote, range(count)))
    state = recorded.state_dict()
    assert {name: (value.dtype, tuple(value.shape)) for name, value in state.items()} == {
        "iterations": (torch.int64, (count,)),
        "values": (torch.float64, (count,)),
    }
    other = series(9, 9, 9)
    other.load_state_dict(state)
    assert other == recorded
    other.push(count + 1, 5.0)
    assert other.last == (count + 1, 5.0)
    assert len(recorded) == count


def test_its_state_replaces_what_was_still_on_a_device() -> None:
    recorded = series(*map(remote, range(5)))
    recorded.load_state_dict(series(1.0).state_dict())
    assert list(recorded.values) == [1.0]


# Columns.


@pytest.mark.parametrize("kind", [list, tuple, lambda numbers: array("q", numbers), lambda ns: Column(array("q", ns))])
def test_a_column_is_equal_to_whatever_holds_the_same_numbers(kind) -> None:
    column = Column(array("q", [1, 2, 3]))
    assert column == kind([1, 2, 3])
    assert kind([1, 2, 3]) == column
    assert column != kind([1, 2])
    assert column != kind([1, 2, 4])
    assert column != {1, 2, 3}


def test_a_column_is_about_equal_to_numbers_that_are_about_the_same() -> None:
    assert Column(array("d", [0.1, 0.2])) == pytest.approx([0.1, 0.2 + 1e-12])


def test_a_column_is_read_like_a_list() -> None:
    column = Column(array("d", [0.5, 0.25, 2.0]))
    assert (column[0], column[-1], column[1:], list(column), len(column), 2.0 in column, max(column)) == (
        *(0.5, 2.0, [0.25, 2.0], [0.5, 0.25, 2.0], 3, True, 2.0),
    )
    assert repr(column) == "[0.5, 0.25, 2.0]"
    assert torch.tensor(column).tolist() == [0.5, 0.25, 2.0]


def test_numbers_that_come_later_show_in_a_column() -> None:
    numbers = array("q", [1])
    column = Column(numbers)
    numbers.append(2)
    assert column == [1, 2]


def test_a_column_cannot_be_changed_or_hashed() -> None:
    column = Column(array("q", [1]))
    with pytest.raises(AttributeError):
        column.append(2)
    with pytest.raises(TypeError, match="does not support item assignment"):
        column[0] = 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(column)
