import copy
import gc
import tracemalloc

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from treadle import (
    Callback,
    Learner,
    PropDict,
    ProtectedException,
    Read,
    TrainingPhase,
    Write,
    toy_learner,
)
from treadle.state.views import view

#: The fixes, before the line of code.
ADD, CHANGE = (f".\nFix: {verb} Viewer.state_access:\n    " for verb in ("add to", "change in"))


class Viewer(Callback):
    def __init__(self, **access) -> None:
        self.state_access = {path.replace("__", "."): permission for path, permission in access.items()}


def learner_with(**cbstate) -> Learner:
    learner = toy_learner()
    learner.cbstate = PropDict(cbstate)
    learner.step = PropDict(xs=1, loss=2)
    return learner


def seen(learner: Learner | None = None, /, **access):
    """The learner as a callback with these declarations sees it."""
    return view(learner or learner_with(), Viewer(**access))


# What is declared can be used.


@pytest.mark.parametrize("field", ["model", "optimizer", "lossfn", "data", "params", "step", "callbacks", "cbstate"])
def test_every_field_can_be_read(field) -> None:
    learner = learner_with()
    assert getattr(seen(learner, **{field: Read}), field) == getattr(learner, field)


def test_a_declared_path_is_read_as_attribute_and_as_item() -> None:
    learner = seen(step__loss=Read)
    assert (learner.step.loss, learner["step"]["loss"], "loss" in learner.step) == (2, 2, True)


def test_what_is_looked_at_is_always_the_present_state() -> None:
    learner = learner_with()
    mine = seen(learner, step__loss=Read)
    step = mine.step
    learner.step = PropDict(loss=3)
    assert (step.loss, mine.step.loss) == (3, 3)


def test_a_declared_name_that_is_not_there_says_what_is() -> None:
    mine = seen(step__los=Read)
    with pytest.raises(AttributeError, match=r"There is no `los` here\. Did you mean `loss`\?"):
        _ = mine.step.los
    assert "los" not in mine.step


def test_write_replaces_makes_and_deletes() -> None:
    learner = learner_with(old=1)
    mine = seen(learner, cbstate__new=Write, cbstate__old=Write, step__xs=Write, step__ys=Write)
    mine.cbstate.new = 5
    mine.step["ys"] = 6
    mine.step.xs += 1
    del mine.cbstate.old
    assert (dict(learner.cbstate), dict(learner.step)) == ({"new": 5}, {"xs": 2, "loss": 2, "ys": 6})


def test_what_may_not_be_there_is_asked_for_with_a_default() -> None:
    mine = seen(step__loss=Read, step__penalty=Read)
    assert (mine.step.get("loss"), mine.step.get("penalty"), mine.step.get("penalty", 0)) == (2, None, 0)


def test_write_includes_read() -> None:
    assert seen(step__loss=Write).step.loss == 2


def test_write_of_a_field_sets_it_on_the_learner() -> None:
    learner = learner_with()
    other = nn.Linear(1, 1)
    seen(learner, model=Write).model = other
    assert learner.model is other
    assert set(learner.params) == {"weight", "bias"}


def test_write_of_all_of_cbstate_gives_the_thing_itself() -> None:
    learner = learner_with()
    assert seen(learner, cbstate=Write).cbstate is learner.cbstate


def test_paths_go_as_deep_as_they_are_declared() -> None:
    learner = learner_with(a=PropDict(b=PropDict(c=1, d=2)))
    mine = seen(learner, cbstate__a__b__c=Write)
    mine.cbstate.a.b.c = 7
    assert learner.cbstate.a.b.c == 7
    with pytest.raises(ProtectedException, match=r'Viewer reads `cbstate\.a\.b\.d`[^"]*"cbstate\.a\.b\.d": Read'):
        _ = mine.cbstate.a.b.d


def test_a_path_leads_through_a_module_to_its_parts() -> None:
    learner = Learner(nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1)), print, use_default_callbacks=False)
    mine = view(learner, Viewer(model__0__weight=Read))
    assert mine.model["0"].weight is learner.model[0].weight
    with pytest.raises(ProtectedException, match=r'"model\.1": Read'):
        _ = mine.model["1"]


def test_a_path_leads_through_a_dictionary_by_its_keys() -> None:
    learner = learner_with(scores={"mean": 1, "class": 2})
    mine = seen(learner, cbstate__scores__mean=Write)
    mine.cbstate.scores.mean += 1
    assert learner.cbstate.scores == {"mean": 2, "class": 2}


@pytest.mark.parametrize("name", ["class", "None", "0", "two words", "a-b"])
def test_a_name_that_is_not_a_valid_attribute_is_an_item(name) -> None:
    learner = learner_with(**{name: 1})
    mine = seen(learner, **{f"cbstate__{name}": Write})
    mine.cbstate[name] = mine.cbstate[name] + 1
    assert learner.cbstate[name] == 2
    del mine.cbstate[name]
    assert name not in mine.cbstate


def test_a_parameter_with_dots_in_its_name_is_an_item() -> None:
    learner = Learner(nn.Sequential(nn.Linear(1, 1)), print, use_default_callbacks=False)
    mine = view(learner, Viewer(**{"params.0.weight": Read}))
    assert mine.params["0.weight"] is learner.model[0].weight
    assert "0.weight" in mine.params
    with pytest.raises(ProtectedException, match=r'Viewer reads `params\.0\.bias`[^"]*"params\.0\.bias": Read'):
        mine.params["0.bias"]
    with pytest.raises(ProtectedException, match=r'"params\.0\.weight": Write'):
        mine.params["0.weight"] = None


def test_a_declaration_above_holds_below() -> None:
    learner = learner_with(a=PropDict(b=1, c=2), d=3)
    mine = seen(learner, cbstate=Read, cbstate__a__b=Write)
    mine.cbstate.a.b = 5
    assert (mine.cbstate.a.c, mine.cbstate.d) == (2, 3)
    with pytest.raises(ProtectedException, match=r'"cbstate\.a\.c": Write'):
        mine.cbstate.a.c = 0
    with pytest.raises(ProtectedException, match=r'"cbstate\.d": Write'):
        mine.cbstate.d = 0


def test_a_write_above_is_not_narrowed_by_a_read_below() -> None:
    learner = learner_with(a=PropDict(b=1))
    mine = seen(learner, cbstate=Write, cbstate__a__b=Read)
    mine.cbstate.a.b = 2
    mine.cbstate.a.c = 3
    assert dict(learner.cbstate.a) == {"b": 2, "c": 3}
    mine.cbstate = PropDict()
    assert dict(learner.cbstate) == {}


def test_several_models_can_be_read_by_name() -> None:
    learner = Learner({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)}, print, use_default_callbacks=False)
    assert view(learner, Viewer(model=Read)).model.a is learner.model.a
    assert view(learner, Viewer(params__a=Read)).params.a["weight"] is learner.model.a.weight


# What is not declared cannot, and the message holds the line to add.


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            lambda v: v.optimizer,
            f'Viewer reads `optimizer` and does not declare it{ADD}"optimizer": Read',
        ),
        (
            lambda v: v.step.xs,
            f'Viewer reads `step.xs` and does not declare it{ADD}"step.xs": Read',
        ),
        (
            lambda v: v.step["xs"],
            f'Viewer reads `step.xs` and does not declare it{ADD}"step.xs": Read',
        ),
        (
            lambda v: v["model"],
            f'Viewer reads `model` and does not declare it{ADD}"model": Read',
        ),
        (
            lambda v: setattr(v.step, "xs", 1),
            f'Viewer writes `step.xs` and does not declare it{ADD}"step.xs": Write',
        ),
        (
            lambda v: v.step.__setitem__("xs", 1),
            f'Viewer writes `step.xs` and does not declare it{ADD}"step.xs": Write',
        ),
        (
            lambda v: setattr(v.step, "loss", 1),
            f'Viewer writes `step.loss`, which it declares `Read`{CHANGE}"step.loss": Write',
        ),
        (
            lambda v: delattr(v.step, "loss"),
            f'Viewer deletes `step.loss`, which it declares `Read`{CHANGE}"step.loss": Write',
        ),
        (
            lambda v: v.step.__delitem__("xs"),
            f'Viewer deletes `step.xs` and does not declare it{ADD}"step.xs": Write',
        ),
        (
            lambda v: setattr(v, "step", 1),
            f'Viewer writes `step` and does not declare it{ADD}"step": Write',
        ),
        (
            lambda v: setattr(v, "lossfn", 1),
            f'Viewer writes `lossfn` and does not declare it{ADD}"lossfn": Write',
        ),
        (
            lambda v: "xs" in v.step,
            f'Viewer asks for `step.xs` and does not declare it{ADD}"step.xs": Read',
        ),
        (
            lambda v: list(v.step),
            f'Viewer iterates over `step` and declares only parts of it{ADD}"step": Read',
        ),
        (
            lambda v: v.step.items(),
            f'Viewer iterates over `step` and declares only parts of it{ADD}"step": Read',
        ),
        (
            lambda v: v.step.get("xs"),
            f'Viewer asks for `step.xs` and does not declare it{ADD}"step.xs": Read',
        ),
        (
            lambda v: v.fit,
            "Viewer reads `fit`, which is not a state of the learner.\nFix: declare and use one of: "
            "model, optimizer, lossfn, data, params, step, callbacks, cbstate, loop.",
        ),
        (
            lambda v: setattr(v, "progress", 1),
            "Viewer writes `progress`, which only the loop does.\nFix: keep counts of your own",
        ),
    ],
)
def test_an_undeclared_use_names_the_line_that_allows_it(use, message) -> None:
    learner = learner_with()
    before = dict(learner.step)
    with pytest.raises(ProtectedException) as refused:
        use(seen(learner, step__loss=Read))
    assert str(refused.value).startswith(message)
    assert dict(learner.step) == before


def test_the_name_in_the_message_is_the_callbacks_own() -> None:
    viewer = Viewer()
    viewer.name = "second"
    with pytest.raises(ProtectedException, match=r"second reads `model`[^`]*second\.state_access"):
        _ = view(toy_learner(), viewer).model


@pytest.mark.parametrize(
    ("use", "line"),
    [
        (lambda v: setattr(v.step, "xs", 1), "step.xs"),
        (lambda v: v.step.__setitem__("loss", 1), "step.loss"),
        (lambda v: v.step.update(loss=1), "step"),
        (lambda v: v.step.clear(), "step"),
        (lambda v: setattr(v.cbstate.inner, "a", 1), "cbstate.inner.a"),
        (lambda v: setattr(v.data, "training", ()), "data.training"),
        (lambda v: v.params.pop("weight"), "params"),
    ],
)
def test_reading_a_propdict_gives_a_read_only_view_of_it(use, line) -> None:
    learner = learner_with(inner=PropDict(a=0))
    mine = seen(learner, step=Read, cbstate=Read, data=Read, params=Read)
    with pytest.raises(ProtectedException, match=rf'"{line}": Write'):
        use(mine)
    assert (dict(learner.step), learner.cbstate.inner.a, "weight" in learner.params) == ({"xs": 1, "loss": 2}, 0, True)


def test_a_propdict_at_a_declared_path_is_read_only_too() -> None:
    learner = learner_with(inner=PropDict(a=0))
    with pytest.raises(ProtectedException, match=r'"cbstate\.inner\.a": Write'):
        seen(learner, cbstate__inner=Read).cbstate.inner.a = 1


@pytest.mark.parametrize("path", ["step__losses", "step"])
def test_a_propdict_that_a_phase_put_into_the_step_is_read_only_too(path) -> None:
    learner = learner_with()
    learner.step.losses = PropDict(generator=0)
    with pytest.raises(ProtectedException, match=r'"step\.losses\.generator": Write'):
        seen(learner, **{path: Read}).step.losses.generator = 1


class Doubles(Callback):
    """Doubles the gradient of the one weight."""

    def __init__(self, **access) -> None:
        self.state_access = {path.replace("__", "."): permission for path, permission in access.items()}

    def on_backward_end(self, learner, phase: TrainingPhase) -> None:
        learner.step.grads["weight"] = 2 * learner.step.grads["weight"]


@pytest.mark.parametrize("path", ["step__grads", "step"])
def test_a_gradient_that_may_be_read_cannot_be_replaced(path) -> None:
    learner = toy_learner(Doubles(**{path: Read}))
    with pytest.raises(ProtectedException, match=r'Fix: add to state_access:\n    "step\.grads\.weight": Write'):
        learner.fit(1)
    assert learner.model.weight.item() == 0


@pytest.mark.parametrize("path", ["step__grads__weight", "step__grads", "step"])
def test_a_gradient_that_may_be_written_can_be_replaced(path) -> None:
    learner = toy_learner(Doubles(**{path: Write}), nbatches=1)
    learner.fit(1)
    assert learner.model.weight.item() == pytest.approx(0.002 * learner.data.training[0][0].mean().item())


@pytest.mark.parametrize("method", ["update", "pop", "clear", "setdefault"])
def test_a_part_that_may_be_written_does_not_open_the_rest(method) -> None:
    mine = seen(learner_with(), step=Read, step__loss=Write)
    with pytest.raises(ProtectedException, match=rf"`step\.{method}\(\.\.\.\)` cannot be called"):
        getattr(mine.step, method)


def test_all_that_is_declared_read_can_be_iterated_also_beside_a_write() -> None:
    mine = seen(learner_with(), step=Read, step__loss=Write)
    assert (list(mine.step), dict(mine.step.items())) == (["xs", "loss"], {"xs": 1, "loss": 2})


@pytest.mark.parametrize(
    ("use", "line"),
    [
        (lambda v: v.step.loss, '"step.loss": Read'),
        (lambda v: setattr(v.step, "loss", 1), '"step.loss": Write'),
        (lambda v: v.cbstate["history"], '"cbstate.history": Read'),
        (lambda v: "validation" in v.data, '"data.validation": Read'),
        (lambda v: v.params["0.weight"], '"params.0.weight": Read'),
        (lambda v: list(v.step), '"step": Read'),
        (lambda v: v.step.items(), '"step": Read'),
    ],
)
def test_without_a_declaration_the_error_names_the_whole_path(use, line) -> None:
    with pytest.raises(ProtectedException) as refused:
        use(seen())
    assert str(refused.value).endswith(f"{ADD}{line}")


def test_a_refusal_in_a_handler_reaches_the_caller_of_fit() -> None:
    class Sneaky(Callback):
        def on_step_end(self, learner, phase: TrainingPhase):
            learner.step.loss = 0

    with pytest.raises(
        ProtectedException,
        match=r'Sneaky writes `step\.loss`.*\nFix: add to Sneaky\.state_access:\n    "step\.loss": Write',
    ):
        toy_learner(Sneaky()).fit(1)


# All of this, for any declaration and any path.

NAMES = st.sampled_from(["a", "b", "0", "class"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: ("cbstate", *names))


def nested(depth: int = 3) -> PropDict:
    return PropDict({name: nested(depth - 1) if depth > 1 else 0 for name in ("a", "b", "0", "class")})


def walk(start, names, by_item: bool):
    for name in names:
        start = start[name] if by_item else getattr(start, name)
    return start


@settings(deadline=None, max_examples=200)
@given(
    declared=st.dictionaries(PATHS, st.sampled_from([Read, Write]), max_size=4),
    path=PATHS,
    by_item=st.booleans(),
    use=st.sampled_from(["read", "write", "delete", "ask"]),
)
@example(
    {("cbstate",): Write, ("cbstate", "a"): Read, ("cbstate", "a", "b"): Write}, ("cbstate", "a", "0"), False, "write"
)
@example(
    {("cbstate",): Read, ("cbstate", "a"): Write, ("cbstate", "a", "b"): Read}, ("cbstate", "a", "b"), True, "write"
)
def test_a_use_is_allowed_just_if_the_declarations_cover_it(declared, path, by_item, use) -> None:
    learner = toy_learner()
    learner.cbstate = nested()
    viewer = Viewer()
    viewer.state_access = {".".join(names): permission for names, permission in declared.items()}
    mine = view(learner, viewer)
    covering = {permission for names, permission in declared.items() if path[: len(names)] == names}
    leading = any(names[: len(path)] == path for names in declared)
    allowed = Write in covering if use in ("write", "delete") else bool(covering or leading)
    *above, last = path
    value = object()

    def do() -> None:
        owner = walk(mine, above, by_item)
        if use == "read":
            walk(owner, [last], by_item)
        elif use == "ask":
            assert last in owner
        elif use == "write":
            owner.__setitem__(last, value) if by_item else setattr(owner, last, value)
        else:
            owner.__delitem__(last) if by_item else delattr(owner, last)

    if not allowed:
        with pytest.raises(ProtectedException):
            do()
        assert learner.cbstate == nested()
        return
    do()
    target = walk(learner.cbstate, above[1:], by_item=True)
    if use == "write":
        assert target[last] is value
    elif use == "delete":
        assert last not in target
    else:
        assert learner.cbstate == nested()


# Views cost nothing where it counts.


def test_the_class_of_a_view_is_made_once_for_a_declaration() -> None:
    learner = toy_learner()
    first, second = Viewer(step__loss=Read, model=Write), Viewer(model=Write, step__loss=Read)
    assert type(view(learner, first)) is type(view(learner, second))
    assert type(view(learner, first)) is not type(view(learner, Viewer(model=Write)))


def test_a_part_of_a_view_is_the_same_object_at_each_access() -> None:
    mine = seen(step__loss=Read)
    assert mine.step is mine.step


def test_an_access_leaves_nothing_behind() -> None:
    mine = seen(step__loss=Read, cbstate__0=Write)
    mine.cbstate["0"] = 1

    def use() -> None:
        for _ in range(500):
            _ = mine.step.loss, mine.cbstate["0"]

    use()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    use()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 1000


def test_a_view_is_shown_as_what_it_is() -> None:
    mine = seen(step__loss=Read)
    assert (repr(mine), repr(mine.step)) == ("<learner as Viewer sees it>", "<step as Viewer sees it>")


def test_tools_that_probe_for_special_methods_are_not_refused() -> None:
    mine = seen(step__loss=Read)
    assert not hasattr(mine, "__array__")
    assert not hasattr(mine.step, "shape")


def test_a_change_of_a_view_through_a_handler_is_a_change_of_the_learner() -> None:
    class Doubler(Callback):
        state_access = {"step.xs": Write}

        def on_step_begin(self, learner, phase: TrainingPhase):
            learner.step.xs = learner.step.xs * 2

    seen_inputs = []

    class Watcher(Callback):
        state_access = {"step.xs": Read}

        def on_step_end(self, learner, phase: TrainingPhase):
            seen_inputs.append(learner.step.xs)

    learner = toy_learner(Doubler(), Watcher(), data=([(torch.ones(1, 1), torch.ones(1, 1))],))
    learner.fit(1)
    assert seen_inputs == [torch.full((1, 1), 2.0)]


def test_a_copy_of_a_view_is_one_of_the_copied_learner() -> None:
    learner = learner_with(a=1)
    memo: dict = {}
    other = copy.deepcopy(learner, memo)
    mine = copy.deepcopy(seen(learner, cbstate__a=Write), memo)
    mine.cbstate.a = 2
    assert (learner.cbstate.a, other.cbstate.a) == (1, 2)


# Names that are close to others, and what there is.


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda v: v.step.lss, "Viewer reads `step.lss` and does not declare it. Did you mean `step.loss`?"),
        (
            lambda v: setattr(v.step, "los", 1),
            "Viewer writes `step.los` and does not declare it. Did you mean `step.loss`?",
        ),
        (
            lambda v: "losss" in v.step,
            "Viewer asks for `step.losss` and does not declare it. Did you mean `step.loss`?",
        ),
        (lambda v: v.step.yhat, "Viewer reads `step.yhat` and does not declare it. Did you mean `step.yhats`?"),
        (
            lambda v: v.cbstate.histry,
            "Viewer reads `cbstate.histry` and does not declare it. Did you mean `cbstate.history`?",
        ),
        (lambda v: v.modl, "Viewer reads `modl`, which is not a state of the learner. Did you mean `model`?"),
    ],
)
def test_a_slip_is_guessed_from_what_is_declared_and_what_there_is(use, message) -> None:
    learner = learner_with()
    learner.step.yhats = 1
    with pytest.raises(ProtectedException) as refused:
        use(seen(learner, step__loss=Read, cbstate__history=Read))
    what, _, fix = str(refused.value).partition("\nFix: ")
    assert what == message
    assert fix.startswith(("correct the name, or add to Viewer.state_access:\n    ", "declare and use one of: model,"))


def test_what_is_there_and_not_declared_is_no_slip() -> None:
    learner = learner_with()
    learner.step.losses = 1
    with pytest.raises(
        ProtectedException, match=r"^Viewer reads `step\.losses` and does not declare it\.\nFix: add to"
    ):
        _ = seen(learner, step__loss=Read).step.losses


@pytest.mark.parametrize(
    ("declared", "look", "names"),
    [
        ({"step": Read}, lambda v: v.step, {"xs", "loss"}),
        ({"step": Write}, lambda v: v.step, {"xs", "loss"}),
        ({"step.loss": Read}, lambda v: v.step, {"loss"}),
        ({"step": Read, "step.xs": Write}, lambda v: v.step, {"xs", "loss"}),
        ({"params": Read}, lambda v: v.params, {"weight"}),
        ({"step.loss": Read, "model": Write}, lambda v: v, {"step", "model"}),
        ({}, lambda v: v.progress, {"epoch", "steps", "phase"}),
    ],
)
def test_dir_and_vars_show_what_may_be_read(declared, look, names) -> None:
    learner = toy_learner()
    learner.step.update(xs=1, loss=2)
    shown = look(seen(learner, **{path.replace(".", "__"): permission for path, permission in declared.items()}))
    assert names <= set(dir(shown))
    assert names <= set(vars(shown))
    assert all(vars(shown)[name] is getattr(shown, name) for name in names - {"params"} if name != "model")


def test_vars_leaves_out_what_is_not_there_yet() -> None:
    learner = toy_learner()
    shown = seen(learner, step__loss=Read, step__xs=Read).step
    assert vars(shown) == {}
    assert {"loss", "xs"} <= set(dir(shown))


def test_vars_of_what_was_not_declared_says_what_to_add() -> None:
    with pytest.raises(
        ProtectedException, match=r'iterates over `step` .*\nFix: add to Viewer\.state_access:\n    "step": R'
    ):
        vars(seen(toy_learner()).step)
    assert "xs" not in dir(seen(toy_learner()).step)
