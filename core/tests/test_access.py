import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treadle import AccessError, Callback, Permission, Read, TreadleError, Write, accesses, toy_learner
from treadle.access import FIELDS, checked, nested, overlaps


def test_write_includes_read() -> None:
    assert issubclass(Write, Read)
    assert issubclass(Read, Permission)


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ("step", "step", True),
        ("step", "step.loss", True),
        ("step.loss", "step", True),
        ("cbstate.a.b", "cbstate", True),
        ("step.loss", "step.losses", False),
        ("step.loss", "step.xs", False),
        ("model", "model_", False),
        ("cbstate.a.b", "cbstate.a.c", False),
    ],
)
def test_paths_overlap_when_one_is_a_prefix_of_the_other_part_by_part(first, second, outcome) -> None:
    assert overlaps(first, second) is overlaps(second, first) is outcome
    assert nested(first, second) is nested(second, first) is outcome


WEIGHTS = ["model", "params", "step.grads"]


@pytest.mark.parametrize(("first", "second"), list(itertools.product(WEIGHTS, WEIGHTS)))
def test_the_weights_are_one_state_by_whatever_name(first, second) -> None:
    assert overlaps(first, second)
    assert overlaps(f"{first}.gen", second)
    assert overlaps(f"{first}.gen", f"{second}.gen.layer.weight")
    assert not overlaps(f"{first}.gen", f"{second}.disc")
    assert not overlaps(f"{first}.gen.a", f"{second}.gen.b")


@pytest.mark.parametrize("path", ["model", "params.weight", "step.grads"])
@pytest.mark.parametrize(
    "other", ["optimizer", "lossfn", "data", "cbstate.params", "cbstate.model", "step.loss", "loop"]
)
def test_what_else_there_is_is_another_state_than_the_weights(path, other) -> None:
    assert not overlaps(path, other)
    assert not overlaps(other, path)


def test_the_step_holds_the_gradients_and_so_the_weights() -> None:
    assert overlaps("step", "params.weight")
    assert overlaps("model", "step")


NAMES = st.sampled_from(["model", "params", "step", "grads", "loss", "cbstate", "a", "b"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(".".join)


@given(PATHS, PATHS)
def test_overlap_is_the_same_both_ways_and_holds_for_what_is_above(first, second) -> None:
    assert overlaps(first, first)
    assert overlaps(first, second) is overlaps(second, first)
    if overlaps(first, f"{second}.below"):
        assert overlaps(first, second)


def test_a_permission_for_one_name_is_none_for_another() -> None:
    assert not nested("step.grads", "params")
    assert not nested("params", "model")


class Keeper(Callback):
    state_access = {"step.loss": Read, "step.xs": Read, "cbstate.kept": Write}


def test_accesses_are_the_paths_declared_with_just_that_permission() -> None:
    assert accesses(Keeper(), Read) == {"step.loss", "step.xs"}
    assert accesses(Keeper(), Write) == {"cbstate.kept"}


def test_a_callback_declares_nothing_by_default() -> None:
    assert accesses(Callback(), Read) == accesses(Callback(), Write) == set()


def test_state_access_can_be_a_property() -> None:
    class Chosen(Callback):
        def __init__(self, name: str) -> None:
            self.entry = name

        @property
        def state_access(self):
            return {f"cbstate.{self.entry}": Write}

    assert accesses(Chosen("a"), Write) == {"cbstate.a"}


@pytest.mark.parametrize("path", [*FIELDS[:-1], "step.anything", "cbstate.any.thing", "data.test", "model.0.weight"])
def test_a_path_starts_with_a_field_of_the_learner(path) -> None:
    assert checked({path: Read}, "Reader") == {path: Read}


def test_the_loop_is_declared_write() -> None:
    assert checked({"loop": Write}, "Validator") == {"loop": Write}


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            {"loop": Read},
            r"Odd\.state_access has 'loop': Read, and the loop is entered as a whole\.\n"
            r'Fix: declare it, or leave it out:\n    state_access = \{"loop": Write\}$',
        ),
        ({"loop.step": Write}, r"Odd\.state_access has 'loop\.step': Write, and the loop is entered as a"),
        (
            ["step.loss"],
            r"Odd\.state_access is \['step\.loss'\], not a mapping\.\nFix: map dotted paths to `Read` or",
        ),
        (None, r"Odd\.state_access is None"),
        (
            {"step.loss": "read"},
            r"has an invalid permission for 'step\.loss': 'read'\.\n.*\n.*state_access = {\"step\.loss\": Read}",
        ),
        ({"step.loss": Read()}, r"Fix: use `Read` or `Write`"),
        ({"step.loss": Permission}, r"Fix: use `Read` or `Write`"),
        (
            {"stp.loss": Read},
            r"the path 'stp\.loss', and a learner has no `stp`\. Did you mean `step`\?\nFix: let the path",
        ),
        (
            {"learner.step": Read},
            r"a learner has no `learner`\. .*\nFix: let the path start with one of: model, optimizer, lossfn",
        ),
        ({"": Read}, r"has '', which is not a path\.\nFix: write dotted names:\n"),
        ({"step.": Read}, r"has 'step\.', which is not a path"),
        ({"step..loss": Read}, r"has 'step\.\.loss'"),
        ({("step", "loss"): Read}, r"has \('step', 'loss'\), which is not a path"),
    ],
)
def test_an_invalid_declaration_is_refused_with_its_fix(declared, message) -> None:
    class Odd(Callback):
        state_access = declared

        def on_step_end(self, learner): ...

    with pytest.raises(AccessError, match=message):
        accesses(Odd(), Read)
    with pytest.raises(AccessError, match=message):
        toy_learner(Odd())


def test_the_error_is_a_value_error_and_one_of_treadle() -> None:
    assert issubclass(AccessError, (TreadleError, ValueError))


@pytest.mark.parametrize("permission", ["read", Permission, None, Read()])
def test_a_permission_is_one_of_two(permission) -> None:
    with pytest.raises(
        AccessError, match=r" is not a permission\.\nFix: pass `Read` or `Write`:\n    accesses\(callback, Read\)"
    ):
        accesses(Keeper(), permission)
