from itertools import count

import pytest
from treadle import DataError
from treadle.authoring import length_of
from treadle.loop.evaluation.first_batches import FirstBatches


def test_no_batch_is_asked_for_beyond_the_last_one() -> None:
    numbers = count()
    assert list(FirstBatches(numbers, 3, "learner.evaluate")) == [0, 1, 2]
    assert next(numbers) == 3


def test_its_length_is_that_of_the_data_if_they_are_shorter_and_know_it() -> None:
    lengths = [length_of(FirstBatches(data, 3, "learner.evaluate")) for data in ([1, 2], [1, 2, 3, 4], count())]
    assert lengths == [2, 3, 3]


def test_data_without_a_batch_are_refused_by_their_own_name() -> None:
    with pytest.raises(DataError, match=r"learner.evaluate got no batch from list_iterator.\nFix: pass a list or"):
        list(FirstBatches(iter([]), 3, "learner.evaluate"))
