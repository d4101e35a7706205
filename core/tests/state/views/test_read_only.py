import copy

import pytest
import torch
from treadle import PropDict, ProtectedException
from treadle.state.gradients import Gradients
from treadle.state.views.read_only import ReadOnly


def test_it_shows_later_changes() -> None:
    state = PropDict(xs=1)
    view = ReadOnly(state, "step")
    state.xs = 2
    assert (view.xs, view["xs"], list(view), len(view), "xs" in view) == (2, 2, ["xs"], 1, True)


def test_what_is_inside_is_read_only_as_well() -> None:
    view = ReadOnly(PropDict(inner=PropDict(a=1)), "cbstate")
    with pytest.raises(ProtectedException, match=r'\nFix: add to state_access:\n    "cbstate\.inner\.a": Write'):
        view.inner.a = 2
    with pytest.raises(ProtectedException, match=r'\nFix: add to state_access:\n    "cbstate\.inner\.a": Write'):
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
def test_a_write_names_the_line_to_add(write) -> None:
    state = PropDict(loss=0)
    with pytest.raises(
        ProtectedException,
        match=r"^`step` was declared `Read`, so `step\.loss` cannot be written\."
        r'\nFix: add to state_access:\n    "step\.loss": Write$',
    ):
        write(ReadOnly(state, "step"))
    assert dict(state) == {"loss": 0}


@pytest.mark.parametrize("method", ["update", "pop", "popitem", "clear", "setdefault"])
def test_methods_that_change_it_are_refused(method) -> None:
    with pytest.raises(
        ProtectedException,
        match=rf'`step\.{method}\(\.\.\.\)` cannot be called.\nFix: add to state_access:\n    "step": Write',
    ):
        getattr(ReadOnly(PropDict(loss=0), "step"), method)


def test_methods_that_read_are_there() -> None:
    view = ReadOnly(PropDict(a=1), "cbstate")
    assert (dict(view), list(view.items()), view.get("b")) == ({"a": 1}, [("a", 1)], None)


def test_a_missing_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"There is no `los` here\. Did you mean `loss`\?"):
        _ = ReadOnly(PropDict(loss=0), "step").los


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_belongs_to_the_reader(duplicate) -> None:
    state = PropDict(loss=0)
    mine = duplicate(ReadOnly(state, "step"))
    mine.loss = 1
    assert (type(mine), state.loss) == (PropDict, 0)


def test_gradients_are_read_and_not_replaced() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    inside = ReadOnly(PropDict(grads=Gradients(PropDict(weight=parameter))), "step").grads
    assert (list(inside), inside["weight"] is parameter.grad) == (["weight"], True)
    with pytest.raises(ProtectedException, match=r'\nFix: add to state_access:\n    "step\.grads\.weight": Write'):
        inside["weight"] = torch.zeros(1)
    assert parameter.grad.item() == 1
