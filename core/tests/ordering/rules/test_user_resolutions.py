"""`Learner(..., resolve=...)`: the user's own answer for pairs in conflict."""

import ast
import copy
import pickle
import re

import pytest
from treadle import (
    AccessError,
    ArgumentTypeError,
    ArgumentValueError,
    Callback,
    CallbackConflictError,
    NoConflict,
    NotDefined,
    RunFirst,
    StepEnd,
    TrainingPhase,
    Unresolvable,
    Write,
    throttle,
    toy_learner,
)


class Halve(Callback):
    state_access = {"cbstate.x": Write}

    def on_step_end(self): ...


class Double(Halve): ...


class Refuses(Halve):
    def resolve_conflict(self, other):
        return Unresolvable("Half of it is not all of it.")


class Insists(Halve):
    def resolve_conflict(self, other):
        return RunFirst(self)


def order(learner) -> list[str]:
    return [callback.name for callback in learner.ordering.order(StepEnd, TrainingPhase)]


ANSWERS = [
    ({("Halve", "Double"): "first"}, ["Halve", "Double"]),
    ({("Halve", "Double"): "second"}, ["Double", "Halve"]),
    ({("Double", "Halve"): "first"}, ["Double", "Halve"]),
    ({("Double", "Halve"): "any"}, ["Double", "Halve"]),
    ({("halve", "double"): "first"}, ["Halve", "Double"]),
    ({("Halve", "Double"): "first", ("Double", "Halve"): "second"}, ["Halve", "Double"]),
    (lambda first, second: RunFirst(first), ["Double", "Halve"]),
    (lambda first, second: RunFirst(second), ["Halve", "Double"]),
    (lambda first, second: NoConflict(), ["Double", "Halve"]),
    (lambda first, second: RunFirst(first) if type(first) is Halve else None, ["Halve", "Double"]),
    (lambda first, second: RunFirst(first) if type(first) is Halve else NotDefined(), ["Halve", "Double"]),
]


@pytest.mark.parametrize(("resolve", "expected"), ANSWERS)
@pytest.mark.parametrize("swap", [False, True])
def test_the_user_settles_a_conflict_without_touching_either_class(resolve, expected, swap) -> None:
    callbacks = [Double(), Halve()] if swap else [Halve(), Double()]
    assert order(toy_learner(*callbacks, resolve=resolve)) == expected


def test_the_message_of_a_conflict_offers_the_line_that_settles_it() -> None:
    with pytest.raises(CallbackConflictError) as refused:
        toy_learner(Halve(), Double())
    offered = re.search(r"    Learner\(\.\.\., resolve=(\{.*?\})\)", str(refused.value))
    assert offered
    assert order(toy_learner(Halve(), Double(), resolve=ast.literal_eval(offered[1]))) == ["Double", "Halve"]


def test_a_throttled_callback_is_asked_about_as_what_it_is() -> None:
    throttled = throttle(Double(), StepEnd, freq=2)
    assert order(toy_learner(Halve(), throttled, resolve={("Halve", "Double"): "first"})) == ["Halve", "Double"]

    def resolve(first, second):
        return RunFirst(first if type(first) is Halve else second)

    assert order(toy_learner(Halve(), throttled, resolve=resolve)) == ["Halve", "Double"]


def test_it_is_stronger_than_what_the_callbacks_say() -> None:
    learner = toy_learner(Halve(), Insists(), resolve={("Halve", "Insists"): "first"})
    assert order(learner) == ["Halve", "Insists"]
    reason = learner.plan().edges[0][2]
    assert reason == "RunFirst(Halve), from the learner's `resolve`"


def test_but_not_than_unresolvable() -> None:
    with pytest.raises(CallbackConflictError, match=r"Halve and Refuses cannot be used together .*: Half of"):
        toy_learner(Halve(), Refuses(), resolve={("Halve", "Refuses"): "first"})


def test_a_user_may_refuse_as_well() -> None:
    with pytest.raises(CallbackConflictError, match=r"cannot be used together \(from the learner's `resolve`\): Why\?"):
        toy_learner(Halve(), Insists(), resolve=lambda first, second: Unresolvable("Why?"))


def test_no_opinion_leaves_the_conflict() -> None:
    with pytest.raises(CallbackConflictError, match="both write"):
        toy_learner(Halve(), Double(), resolve=lambda first, second: None)


class Late(Halve):
    run_after = (Double,)


def test_a_pair_of_names_that_turns_run_after_round_is_refused() -> None:
    with pytest.raises(
        CallbackConflictError,
        match=r"the learner's `resolve` lets Late run before Double, and Double runs before Late \(Late\.run_after "
        r"names Double\)\.\n   Fix: take the pair out of `resolve`",
    ):
        toy_learner(Late(), Double(), resolve={("Late", "Double"): "first"})


@pytest.mark.parametrize(
    "resolve", [{("Double", "Late"): "first"}, {("Late", "Double"): "any"}, lambda first, second: RunFirst(second)]
)
def test_one_that_agrees_with_it_is_not_nor_is_a_function(resolve) -> None:
    assert order(toy_learner(Late(), Double(), resolve=resolve)) == ["Double", "Late"]


# It stays with the learner.


def test_it_survives_every_change_of_the_callbacks() -> None:
    learner = toy_learner(Halve(), Double(), resolve={("Halve", "Double"): "first"})
    learner.remove_callback(Double)
    learner.add_callback(Double())
    assert order(learner) == ["Halve", "Double"]
    learner.set_callbacks([])
    learner.set_callbacks([Double(), Halve()])
    learner.replace_callback(Double())
    assert order(learner) == ["Halve", "Double"]


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda learner: pickle.loads(pickle.dumps(learner))])
def test_it_survives_a_copy_of_the_learner(make) -> None:
    learner = make(toy_learner(Halve(), Double(), resolve={("Halve", "Double"): "first"}))
    assert order(learner) == ["Halve", "Double"]
    learner.set_callbacks([Double(), Halve()])
    assert order(learner) == ["Halve", "Double"]


def test_a_mapping_is_kept_as_it_was_given() -> None:
    resolve = {("Halve", "Double"): "first"}
    learner = toy_learner(Halve(), Double(), resolve=resolve)
    resolve.clear()
    learner.set_callbacks([Double(), Halve()])
    assert order(learner) == ["Halve", "Double"]


# Names.


def test_a_name_that_a_callback_was_given_comes_before_its_class() -> None:
    first, second = Double(), Double()
    second.name = "Halve"
    assert order(toy_learner(first, second, resolve={("Halve", "Double"): "first"})) == ["Halve", "Double"]


def test_two_of_one_class_are_told_apart_by_a_name() -> None:
    first, second = Halve(), Halve()
    second.name = "another"
    assert order(toy_learner(first, second, resolve={("another", "Halve"): "first"})) == ["another", "Halve"]


def test_two_of_one_name_may_come_in_any_order() -> None:
    assert order(toy_learner(Halve(), Halve(), resolve={("Halve", "Halve"): "any"})) == ["Halve", "Halve"]


# Bad input.

PAIRS = r'\nFix: map pairs of names to "first", "second" or "any":\n    Learner\(\.\.\., resolve=\{\("Halve", "D'
SAME = r"in which both names mean the same callbacks\.\nFix: give one of them a name of its own, and use that:\n    an"


@pytest.mark.parametrize(
    ("resolve", "error", "message"),
    [
        (
            "first",
            ArgumentTypeError,
            rf"resolve is 'first', neither a function of two callbacks nor a mapping\.{PAIRS}",
        ),
        ([("Halve", "Double")], ArgumentTypeError, r"resolve is \[\('Halve', 'Double'\)\], neither"),
        (True, ArgumentTypeError, r"resolve is True, neither"),
        (dict, ArgumentTypeError, r"resolve is <class 'dict'>, neither"),
        ({"Halve": "first"}, ArgumentTypeError, rf"resolve has 'Halve', which is not a pair of names\.{PAIRS}"),
        ({("Halve",): "first"}, ArgumentTypeError, r"resolve has \('Halve',\), which is not a pair of names"),
        ({(Halve, Double): "first"}, ArgumentTypeError, r"which is not a pair of names"),
        ({("Halve", "Double", "Halve"): "first"}, ArgumentTypeError, r"which is not a pair of names"),
        (
            {("Halve", "Double"): "frist"},
            ArgumentValueError,
            rf"resolve has an invalid value for \('Halve', 'Double'\): 'frist'\. Did you mean `first`\?{PAIRS}",
        ),
        ({("Halve", "Double"): "Halve"}, ArgumentValueError, r"'Halve'\. There is: any, first, second\."),
        ({("Halve", "Double"): None}, ArgumentValueError, rf"invalid value for \('Halve', 'Double'\): None\.{PAIRS}"),
        ({("Halve", "Double"): []}, ArgumentValueError, r"invalid value for \('Halve', 'Double'\): \[\]\."),
        (
            {("Halve", "Duoble"): "first"},
            ArgumentValueError,
            r"resolve names 'Duoble', and the learner has no callback of that name\. Did you mean `Double`\?\nFix: ",
        ),
        ({("Halve", "Recorder"): "first"}, ArgumentValueError, r"of that name\. There is: Double, Halve\.\nFix: "),
        (
            {("Halve", "Double"): "first", ("Double", "Halve"): "first"},
            ArgumentValueError,
            r"has 'first' for \('Halve', 'Double'\) and 'first' for \('Double', 'Halve'\), and they contradict",
        ),
        ({("Halve", "Double"): "any", ("Double", "Halve"): "first"}, ArgumentValueError, r"they contradict each other"),
        ({("Halve", "Halve"): "first"}, ArgumentValueError, SAME),
    ],
)
def test_what_is_no_answer_is_refused_when_the_learner_is_made(resolve, error, message) -> None:
    with pytest.raises(error, match=message):
        toy_learner(Halve(), Double(), resolve=resolve)


def test_a_name_and_a_class_that_mean_the_same_two_are_refused() -> None:
    with pytest.raises(ArgumentValueError, match=SAME):
        toy_learner(*[type("Other", (Halve,), {})() for _ in range(2)], resolve={("Halve", "Other"): "first"})


def test_two_entries_that_contradict_each_other_by_different_names_are_quoted() -> None:
    resolve = {("Halve", "Double"): "first", ("double", "halve"): "first"}
    with pytest.raises(CallbackConflictError, match=r"their resolutions differ: RunFirst\(Halve\) from the learner's"):
        toy_learner(Halve(), Double(), resolve=resolve)


@pytest.mark.parametrize("answer", ["first", True, RunFirst])
def test_a_function_returns_a_resolution(answer) -> None:
    with pytest.raises(
        AccessError, match=r"the learner's `resolve` returned .* for Double and Halve, which is not a res"
    ):
        toy_learner(Halve(), Double(), resolve=lambda first, second: answer)
