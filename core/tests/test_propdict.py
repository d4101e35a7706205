import copy
import pickle

import pytest
from treadle import PropDict, ProtectedException
from treadle.propdict import ReadOnly


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


class TestReadOnly:
    def test_it_shows_later_changes(self) -> None:
        state = PropDict(xs=1)
        view = ReadOnly(state, "step")
        state.xs = 2
        assert (view.xs, view["xs"], list(view), len(view), "xs" in view) == (2, 2, ["xs"], 1, True)

    def test_what_is_inside_is_read_only_as_well(self) -> None:
        view = ReadOnly(PropDict(inner=PropDict(a=1)), "cbstate")
        with pytest.raises(ProtectedException, match=r'Add to state_access: "cbstate\.inner\.a": Write'):
            view.inner.a = 2
        with pytest.raises(ProtectedException, match=r'Add to state_access: "cbstate\.inner\.a": Write'):
            view["inner"]["a"] = 2

    @pytest.mark.parametrize(
        "write",
        [
            lambda view: setattr(view, "loss", 1),
            lambda view: view.__setitem__("loss", 1),
            lambda view: delattr(view, "loss"),
            lambda view: view.__delitem__("loss"),
        ],
        ids=["attribute", "item", "del attribute", "del item"],
    )
    def test_a_write_names_the_line_to_add(self, write) -> None:
        state = PropDict(loss=0)
        with pytest.raises(
            ProtectedException,
            match=r"^`step` was declared `Read`, so `step\.loss` cannot be written\. "
            r'Add to state_access: "step\.loss": Write$',
        ):
            write(ReadOnly(state, "step"))
        assert dict(state) == {"loss": 0}

    @pytest.mark.parametrize("method", ["update", "pop", "popitem", "clear", "setdefault"])
    def test_methods_that_change_it_are_refused(self, method) -> None:
        with pytest.raises(ProtectedException, match=rf'`step\.{method}\(\.\.\.\)` cannot be called.*"step": Write'):
            getattr(ReadOnly(PropDict(loss=0), "step"), method)

    def test_methods_that_read_are_there(self) -> None:
        view = ReadOnly(PropDict(a=1), "cbstate")
        assert (dict(view), list(view.items()), view.get("b")) == ({"a": 1}, [("a", 1)], None)

    def test_a_missing_name_says_what_there_is(self) -> None:
        with pytest.raises(AttributeError, match=r"There is no `los` here\. Did you mean `loss`\?"):
            _ = ReadOnly(PropDict(loss=0), "step").los

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
    def test_a_copy_belongs_to_the_reader(self, duplicate) -> None:
        state = PropDict(loss=0)
        mine = duplicate(ReadOnly(state, "step"))
        mine.loss = 1
        assert (type(mine), state.loss) == (PropDict, 0)
