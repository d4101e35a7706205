from pathlib import Path
from typing import Any

import pytest
import treadle
from treadle import (
    AccessError,
    Callback,
    CallbackError,
    ConflictResolution,
    CustomCallback,
    EpochBegin,
    FitBegin,
    NoConflict,
    NotDefined,
    Phase,
    ProtectedException,
    Read,
    RunFirst,
    StepEnd,
    TrainingPhase,
    Unresolvable,
    ValidationPhase,
    Write,
    throttle,
    toy_learner,
)
from treadle.callback import unwrap


class Counter(Callback):
    """Counts."""


def test_the_name_is_the_classs_name_unless_set() -> None:
    first, second = Counter(), Counter()
    second.name = "second"
    assert (first.name, second.name, Callback().name) == ("Counter", "second", "Callback")


def test_the_name_can_be_a_class_attribute_or_a_property() -> None:
    class Named(Callback):
        name = "by attribute"

    class Computed(Callback):
        def __init__(self, of: str) -> None:
            self.of = of

        @property
        def name(self):
            return f"counter of {self.of}"

    assert (Named().name, Computed("steps").name) == ("by attribute", "counter of steps")


def test_two_are_equal_only_if_they_are_the_same_object() -> None:
    first, second = Counter(), Counter()
    assert first == first
    assert first != second
    assert len({first, second, first}) == 2


def test_the_defaults_declare_nothing() -> None:
    callback = Callback()
    assert (dict(callback.state_access), tuple(callback.run_after)) == ({}, ())
    assert (callback.resolve_conflict(Counter()), callback.state_dict()) == (NotDefined(), {})
    assert callback.load_state_dict({}) is None
    assert (callback.optional_state, callback.hyperparameters, callback.move_data) == (False, (), None)
    assert callback.wrapped is None


def test_state_for_a_callback_that_takes_none_is_refused() -> None:
    with pytest.raises(
        CallbackError,
        match=r"Counter has no `load_state_dict`, and there is state to load: count\.\nFix: define it beside",
    ):
        Counter().load_state_dict({"count": 1})


class Smoother(Callback):
    def __init__(self, fn: Any, *names: str, beta: float = 0.5, kind: type = int, folder: Any = None) -> None:
        self.fn, self.names, self.beta, self.kind, self.folder = fn, names, beta, kind, folder


@pytest.mark.parametrize(
    ("callback", "shown"),
    [
        (Counter(), "<Counter>"),
        (Smoother(len), "<Smoother(len)>"),
        (Smoother(len, "a", "b", beta=0.5), "<Smoother(len, 'a', 'b')>"),
        (Smoother([1, Counter()], beta=1, kind=str), "<Smoother([1, <Counter>], beta=1, kind=str)>"),
        (
            Smoother(None, beta=True, folder=Path("runs", "a")),
            f"<Smoother(None, beta=True, folder={str(Path('runs/a'))!r})>",
        ),
        (Smoother(object(), folder="x" * 100), f"<Smoother(object, folder='{'x' * 37}...{'x' * 38}')>"),
        (CustomCallback(print, StepEnd), "<CustomCallback(print, StepEnd)>"),
        (throttle(Smoother(len), StepEnd, freq=3), "<Smoother(len) if FrequencyThrottle(3, StepEnd)>"),
    ],
)
def test_it_is_shown_by_its_name_and_the_arguments_that_are_not_the_defaults(callback: Callback, shown: str) -> None:
    assert repr(callback) == shown


def test_a_name_that_was_set_is_shown_in_place_of_the_class() -> None:
    callback = CustomCallback(print, StepEnd, TrainingPhase)
    callback.name = "Printer"
    assert repr(callback) == "<Printer(print, StepEnd, phase=TrainingPhase)>"


def test_an_argument_that_is_not_kept_as_an_attribute_is_not_shown() -> None:
    class Hidden(Callback):
        def __init__(self, seed: int, rate: float = 0.1) -> None:
            self.rate = rate * seed

    assert repr(Hidden(1)) == "<Hidden>"
    assert repr(Hidden(2)) == "<Hidden(rate=0.2)>"


# What others may ask of a callback.


@pytest.mark.parametrize(
    ("facet", "value", "message"),
    [
        ("name", 3, r"Odd\.name is 3, not a text\.\nFix: declare, for example, in Odd:\n    name = "),
        (
            "optional_state",
            "yes",
            r"Odd\.optional_state is 'yes', not True or False\.\nFix: .*:\n    optional_state = True",
        ),
        (
            "hyperparameters",
            None,
            r"Odd\.hyperparameters is None, not a tuple of hyperparameters\.\nFix: declare",
        ),
        ("hyperparameters", ("lr",), r"Odd\.hyperparameters is \('lr',\), not a tuple of hyperparameters"),
        (
            "move_data",
            "cuda",
            r"Odd\.move_data is 'cuda', not a function\.\nFix: .*:\n    def move_data\(",
        ),
        ("wrapped", "it", r"Odd\.wrapped is 'it', not a Callback\.\nFix: .*:\n    wrapped = Printer"),
    ],
)
def test_a_facet_of_the_wrong_type_is_refused_when_a_learner_gets_the_callback(facet, value, message) -> None:
    odd = type("Odd", (Callback,), {facet: value})
    with pytest.raises(CallbackError, match=message):
        toy_learner(odd())


def test_facets_may_be_properties() -> None:
    class Mover(Callback):
        @property
        def optional_state(self):
            return True

        def move_data(self, tensor):
            return tensor

    assert toy_learner(Mover()).callbacks[0].optional_state


# Resolutions.


@pytest.mark.parametrize("kind", [NotDefined, NoConflict, Unresolvable, RunFirst])
def test_the_resolutions_are_of_one_kind(kind) -> None:
    assert issubclass(kind, ConflictResolution)
    assert getattr(treadle, kind.__name__) is kind


def test_resolutions_compare_by_value() -> None:
    first, second = Counter(), Counter()
    assert NoConflict() == NoConflict()
    assert RunFirst(first) == RunFirst(first)
    assert RunFirst(first) != RunFirst(second)
    assert Unresolvable() == Unresolvable("")
    assert Unresolvable("why") != Unresolvable()
    assert RunFirst(first).callback is first


def test_what_is_inside_of_all_wrappers() -> None:
    inner = CustomCallback(print, StepEnd)
    assert unwrap(throttle(throttle(inner, StepEnd, freq=2), StepEnd, freq=3)) is inner
    assert unwrap(inner) is inner


# CustomCallback.


def test_a_custom_callback_calls_a_function_with_the_learner() -> None:
    seen = []
    toy_learner(CustomCallback(seen.append, StepEnd)).fit(1)
    assert len(seen) == 32


@pytest.mark.parametrize(("phase", "count"), [(Phase, 2), (TrainingPhase, 1), (ValidationPhase, 1)])
def test_a_custom_callback_may_be_for_one_type_of_phase(phase, count) -> None:
    seen = []
    toy_learner(CustomCallback(seen.append, EpochBegin, phase)).fit(1)
    assert len(seen) == count


def test_a_custom_callback_can_handle_what_has_no_phase() -> None:
    seen = []
    toy_learner(CustomCallback(seen.append, FitBegin)).fit(0)
    assert len(seen) == 1


def test_a_custom_callback_sees_what_it_declares() -> None:
    seen = []

    def look(learner) -> None:
        seen.append(learner.step.loss.item())

    toy_learner(CustomCallback(look, StepEnd, TrainingPhase, {"step.loss": Read}), nbatches=1).fit(1)
    assert len(seen) == 1
    with pytest.raises(ProtectedException, match=r'CustomCallback reads `step\.loss`(?s:.*)"step\.loss": Read'):
        toy_learner(CustomCallback(look, StepEnd)).fit(1)


def test_a_custom_callback_is_ordered_like_others() -> None:
    log = []
    reader = CustomCallback(lambda learner: log.append("reader"), StepEnd, TrainingPhase, {"cbstate.x": Read})
    writer = CustomCallback(lambda learner: log.append("writer"), StepEnd, TrainingPhase, {"cbstate.x": Write})
    reader.name, writer.name = "a", "b"
    toy_learner(reader, writer, nbatches=1).fit(1)
    assert log == ["writer", "reader"]


def test_its_declaration_is_its_own() -> None:
    access = {"step.loss": Read}
    callback = CustomCallback(print, StepEnd, state_access=access)
    access["model"] = Write
    assert callback.state_access == {"step.loss": Read}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, StepEnd), r"CustomCallback needs a function, got 3\.\nFix: .*:\n    CustomCallback\(print, StepEnd\)"),
        (
            (print, "on_step_end"),
            r"CustomCallback needs the class of an event, got 'on_step_end'\.\n.*\n    CustomCallback\(f, StepEnd\)",
        ),
        ((print, StepEnd()), r"CustomCallback needs the class of an event"),
        (
            (print, StepEnd, "training"),
            r"CustomCallback needs a type of phase, got 'training'\.\nFix: .*:\n    CustomCallback\(f, StepEnd, Train",
        ),
        ((print, StepEnd, TrainingPhase()), r"CustomCallback needs a type of phase, got TrainingPhase\(\)"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message) -> None:
    with pytest.raises(CallbackError, match=message):
        CustomCallback(*arguments)


def test_a_union_of_phases_is_a_type_of_phase() -> None:
    seen = []
    toy_learner(CustomCallback(seen.append, EpochBegin, TrainingPhase | ValidationPhase)).fit(1)
    assert len(seen) == 2


@pytest.mark.parametrize("access", [3, ["step.loss"], 0, "", {"step.loss": "read"}, {"stp": Read}])
def test_a_custom_callbacks_state_access_is_checked_where_it_is_made(access: Any) -> None:
    with pytest.raises(AccessError, match=r"^CustomCallback\.state_access (is|has) (?s:.*)\nFix: "):
        CustomCallback(print, StepEnd, state_access=access)
