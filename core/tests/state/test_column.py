from array import array

import pytest
import torch
from treadle.state.series import Column


@pytest.mark.parametrize("kind", [list, tuple, lambda numbers: array("q", numbers), lambda ns: Column(array("q", ns))])
def test_it_is_equal_to_whatever_holds_the_same_numbers(kind) -> None:
    column = Column(array("q", [1, 2, 3]))
    assert column == kind([1, 2, 3])
    assert kind([1, 2, 3]) == column
    assert column != kind([1, 2])
    assert column != kind([1, 2, 4])
    assert column != {1, 2, 3}


def test_it_is_about_equal_to_numbers_that_are_about_the_same() -> None:
    assert Column(array("d", [0.1, 0.2])) == pytest.approx([0.1, 0.2 + 1e-12])


def test_it_is_read_like_a_list() -> None:
    column = Column(array("d", [0.5, 0.25, 2.0]))
    assert (column[0], column[-1], column[1:], list(column), len(column), 2.0 in column, max(column)) == (
        *(0.5, 2.0, [0.25, 2.0], [0.5, 0.25, 2.0], 3, True, 2.0),
    )
    assert repr(column) == "[0.5, 0.25, 2.0]"
    assert torch.tensor(column).tolist() == [0.5, 0.25, 2.0]


def test_numbers_that_come_later_show() -> None:
    numbers = array("q", [1])
    column = Column(numbers)
    numbers.append(2)
    assert column == [1, 2]


def test_it_cannot_be_changed_or_hashed() -> None:
    column = Column(array("q", [1]))
    with pytest.raises(AttributeError):
        column.append(2)
    with pytest.raises(TypeError, match="does not support item assignment"):
        column[0] = 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(column)
