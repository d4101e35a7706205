import pytest
import torch
from treadle import PropDict, Series
from treadle.errors import MismatchError
from treadle.state.run.entries import capture, put_back
from treadle.state.run.values import flatten, unflatten


def moved(cbstate, other):
    tensors = {}
    put_back(other, unflatten(flatten(capture(cbstate), "cbstate", tensors), tensors))


def test_objects_with_a_state_mappings_and_plain_values_come_back():
    series = Series()
    series.push(3, 0.5)
    cbstate = PropDict(
        series=series, deep=PropDict(rate=series, n=1), values=[1, (2.0, torch.ones(1))], by_number={1: "a"}
    )
    other = PropDict(series=Series())
    kept = other.series
    moved(cbstate, other)
    assert other.series is kept
    assert (other.series, other.deep.rate, other.deep.n) == (series, series, 1)
    assert (other.values, other["by_number"]) == ([1, (2.0, torch.ones(1))], {1: "a"})


class Kept:
    def state_dict(self):
        return {}

    def load_state_dict(self, state): ...


@pytest.mark.parametrize(("entries", "found"), [({}, "nothing"), ({"kept": Series()}, "a Series")])
def test_an_object_that_only_its_callback_can_make_has_to_be_there(entries, found):
    with pytest.raises(MismatchError, match=f"has a Kept for cbstate.deep.kept, and the learner has {found} there"):
        moved(PropDict(deep=PropDict(kept=Kept())), PropDict(deep=PropDict(entries)))
