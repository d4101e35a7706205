import collections

import pytest
import torch
from treadle_metrics import MetricError
from treadle_metrics.attributes import attributes, put_attributes


class Holder:
    def __init__(self, **values):
        vars(self).update(values)


def test_plain_values_and_tensors_are_kept_and_settings_left_out():
    holder = Holder(count=3, name="a", none=None, parts=[1, {"b": 2.0}], key=len, kind=int, device=torch.device("cpu"))
    assert attributes(holder, "A") == {"count": 3, "name": "a", "none": None, "parts": [1, {"b": 2.0}]}


def test_what_is_kept_is_a_copy():
    holder = Holder(total=torch.tensor(1.0), parts=[1])
    state = attributes(holder, "A")
    holder.total += 1
    holder.parts.append(2)
    assert state == {"total": torch.tensor(1.0), "parts": [1]}


def test_what_is_put_back_is_a_copy():
    state = {"parts": [1]}
    holder = Holder()
    put_attributes(holder, state)
    holder.parts.append(2)
    assert state == {"parts": [1]}


def test_a_tuple_is_kept_as_a_list_and_comes_back_as_a_tuple():
    holder = Holder(pair=(1, 2))
    state = attributes(holder, "A")
    put_attributes(holder, state)
    assert (state["pair"], holder.pair) == ([1, 2], (1, 2))


def test_what_cannot_be_kept_is_refused_by_name():
    with pytest.raises(MetricError, match=r"'F1'.*`seen` of Holder is a Counter.*the methods `state_dict`"):
        attributes(Holder(seen=collections.Counter({1: 2})), "F1")
