import copy
import pickle

import pytest
from torch import nn
from treadle import PropDict
from treadle.state.propdict import by_name


def test_a_name_is_an_attribute_and_an_item() -> None:
    state = PropDict(xs=1)
    state.ys = 2
    state["loss"] = 3
    assert (state.xs, state["ys"], state.loss) == (1, 2, 3)


def test_it_starts_from_a_mapping_and_from_names() -> None:
    assert dict(PropDict({"xs": 1, "layer.weight": 2}, ys=3)) == {"xs": 1, "layer.weight": 2, "ys": 3}


def test_it_does_not_share_the_mapping_it_starts_from() -> None:
    values = {"xs": 1}
    state = PropDict(values)
    state.xs = 2
    assert values == {"xs": 1}


def test_it_is_a_mapping_in_the_order_of_its_names() -> None:
    state = PropDict(b=1, a=2)
    assert (list(state), len(state), "a" in state, "c" in state) == (["b", "a"], 2, True, False)
    assert (list(state.items()), state.get("c", 7)) == ([("b", 1), ("a", 2)], 7)
    assert state == {"b": 1, "a": 2}


def test_it_has_the_methods_of_a_mutable_mapping() -> None:
    state = PropDict(a=1, b=2)
    state.update(c=3)
    assert state.pop("a") == 1
    assert state.setdefault("d", 4) == 4
    assert dict(**state) == {"b": 2, "c": 3, "d": 4}


@pytest.mark.parametrize("look", [lambda s: s.los, lambda s: delattr(s, "los")], ids=["read", "delete"])
def test_a_missing_attribute_is_guessed(look) -> None:
    with pytest.raises(AttributeError, match=r"^There is no `los` here\. Did you mean `loss`\?$"):
        look(PropDict(loss=1))


@pytest.mark.parametrize("look", [lambda s: s["grads"], lambda s: s.__delitem__("grads")], ids=["read", "delete"])
def test_a_missing_item_says_what_there_is(look) -> None:
    with pytest.raises(KeyError, match=r"There is no `grads` here\. There is: loss, xs\."):
        look(PropDict(xs=1, loss=2))


def test_an_empty_one_says_that_there_is_nothing() -> None:
    with pytest.raises(AttributeError, match=r"There is no `xs` here\. There is none\."):
        _ = PropDict().xs


def test_what_is_deleted_is_gone() -> None:
    state = PropDict(a=1, b=2)
    del state.a
    del state["b"]
    assert dict(state) == {}


def test_it_is_shown_with_its_values() -> None:
    assert repr(PropDict(xs=1, name="n")) == "PropDict(xs=1, name='n')"


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_is_one_too(duplicate) -> None:
    state = PropDict(xs=[1])
    other = duplicate(state)
    other.ys = 2
    assert type(other) is PropDict
    assert dict(state) == {"xs": [1]}


def test_one_thing_alone_has_the_empty_name() -> None:
    models = {"values": nn.Linear(1, 1), "first": nn.Linear(1, 1)}
    assert by_name(models) == by_name(PropDict(models)) == models
    assert by_name(models["first"]) == {"": models["first"]}
