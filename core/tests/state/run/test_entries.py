import json
from collections import Counter, OrderedDict, defaultdict, namedtuple
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import PropDict, Series
from treadle.errors import MismatchError, NotSaveableError
from treadle.state.run.entries import capture, put_back
from treadle.state.run.values import flatten, unflatten


def moved(cbstate, other):
    tensors = {}
    text = json.dumps(flatten(capture(cbstate), "cbstate", tensors), allow_nan=False)
    put_back(other, unflatten(json.loads(text), tensors))


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


# Whatever comes back is what it was.

plain = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3) | st.binary(max_size=3)
)
names = st.text("ab$", min_size=1, max_size=2)
keys = st.integers() | st.text(max_size=2) | st.tuples(st.integers(), st.text(max_size=1)) | st.booleans() | st.none()
values = st.recursive(
    plain | st.builds(torch.tensor, st.lists(st.integers(0, 9), max_size=3)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=6,
)
entries = st.recursive(
    values | st.builds(Series),
    lambda inner: st.dictionaries(names, inner, max_size=3).flatmap(
        lambda mapping: st.sampled_from([mapping, PropDict(mapping)])
    ),
    max_leaves=6,
)

# What `on_init` may have made before: in a PropDict, which several callbacks may fill, other names stay.
made_before = st.recursive(
    values | st.builds(Series), lambda inner: st.dictionaries(names, inner, max_size=3), max_leaves=6
)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        pairs = zip(one.items(), other.items(), strict=True)
        return len(one) == len(other) and all(same(item, another) for item, another in pairs)
    if isinstance(one, PropDict):
        return set(one) == set(other) and all(same(one[name], other[name]) for name in one)
    return one == other


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from("abc"), entries), st.dictionaries(st.sampled_from("abc"), made_before))
def test_whatever_is_kept_comes_back_as_what_it_was_of_the_same_type_in_the_same_order(kept, made) -> None:
    cbstate, other = PropDict(kept), PropDict({name: value for name, value in made.items() if name in kept})
    for name, value in list(other.items()):
        if isinstance(value, (Series, PropDict)) or isinstance(kept[name], (Series, PropDict)):
            del other[name]  # what on_init makes of these is of the same type
    moved(cbstate, other)
    assert same(cbstate, other)


@pytest.mark.parametrize("placeholder", [None, 0, {"a": 1}])
def test_a_series_comes_back_where_on_init_made_something_else_in_its_place(placeholder):
    series = Series()
    series.push(1, 2.0)
    other = PropDict(rates={"learning": placeholder})
    moved(PropDict(rates={"learning": series}), other)
    assert other.rates["learning"] == series


def test_a_dictionary_that_on_init_made_is_the_same_with_the_names_and_objects_that_it_had():
    series = Series()
    series.push(1, 2.0)
    made = {"gone": 0, "rate": Series()}
    other = PropDict(by_name=made)
    rate = made["rate"]
    moved(PropDict(by_name={"rate": series, "new": 3}), other)
    assert other.by_name is made
    assert made == {"rate": series, "new": 3}
    assert made["rate"] is rate


def test_a_mapping_of_another_kind_has_to_be_made_by_its_callback():
    counted = defaultdict(int, a=1)
    other = PropDict(counts=defaultdict(int))
    moved(PropDict(counts=counted), other)
    assert (other.counts, other.counts["b"]) == ({"a": 1, "b": 0}, 0)
    with pytest.raises(
        MismatchError, match=r"has a defaultdict for cbstate\.counts, and the learner has nothing there"
    ):
        moved(PropDict(counts=counted), PropDict())
    with pytest.raises(
        MismatchError, match=r"a defaultdict for cbstate\.counts, and the learner has a dict there\.\nFix"
    ):
        moved(PropDict(counts=counted), PropDict(counts={}))


@pytest.mark.parametrize(
    ("value", "has"),
    [
        (namedtuple("Point", "x y")(1, 2), "a Point, which would come back as a tuple"),
        ([OrderedDict(a=1)], "an? OrderedDict, which would come back as a dict"),
        ({1: Counter("a")}, "a Counter, which would come back as a dict"),
        (type("Stack", (list,), {})([1]), "a Stack, which would come back as a list"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_container_that_would_come_back_as_another_is_refused_by_name(value, has):
    with pytest.raises(NotSaveableError, match=rf"cannot hold cbstate\.deep\.kept: it has {has}\.\nFix: keep a "):
        capture(PropDict(deep=PropDict(kept=value)))


@pytest.mark.parametrize("value", [{1, 2}, frozenset(), 1j, slice(1), range(3)], ids=repr)
def test_what_cannot_be_held_is_refused_by_name(value):
    with pytest.raises(NotSaveableError, match=r"cannot hold cbstate/kept/value, a "):
        flatten(capture(PropDict(kept=value)), "cbstate", {})
