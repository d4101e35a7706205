from pathlib import Path
from typing import Any

import pytest
import torch
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
    TreadleError,
    Unresolvable,
    ValidationPhase,
    Write,
    hookimpl,
    throttle,
    toy_learner,
)
from treadle.authoring import capture_run
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
    assert (callback.guard, callback.essential) == (False, False)
    assert (callback.optional_state, callback.hyperparameters, callback.move_data) == (False, (), None)
    assert callback.weights_in_validation is None
    assert callback.wrapped is None
    assert callback.processes is None
    assert not callback.added_up(None, TrainingPhase())


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
        (
            "weights_in_validation",
            ["w"],
            r"Odd\.weights_in_validation is \['w'\], not a mapping of names to tensors\.\nFix: .*:\n    weights_in",
        ),
        ("processes", 2, r"Odd\.processes is 2, not an instance of Processes\.\nFix: .*:\n    processes = Processes"),
        ("wrapped", "it", r"Odd\.wrapped is 'it', not a Callback\.\nFix: .*:\n    wrapped = Printer"),
        ("adapter", "it", r"Odd\.adapter is 'it', not a Callback\.\nFix: .*:\n    adapter = Printer"),
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


# Bad input: each is a typed error that names the thing and the fix.


def with_class(**attributes) -> None:
    toy_learner(type("Mine", (Callback,), attributes)(), nbatches=1).fit(1)


def with_attribute(name, value) -> None:
    callback = type("Mine", (Callback,), {"on_step_end": lambda self: None})()
    setattr(callback, name, value)
    toy_learner(callback, nbatches=1).fit(1)


def resolved_by(resolution) -> None:
    attributes = {"state_access": {"cbstate.x": Write}, "on_step_end": lambda self: None}
    answer = {"resolve_conflict": lambda self, other: resolution}
    toy_learner(type("One", (Callback,), attributes | answer)(), type("Other", (Callback,), attributes)())


def annotated(annotation):
    def on_step_end(self, phase): ...

    on_step_end.__annotations__["phase"] = annotation
    return on_step_end


async def awaited(self): ...


def generator(self):
    yield


BAD = {
    "Callback.name = 3": (lambda: with_class(name=3), "not a text"),
    "Callback.name = lambda self: 'x'": (lambda: with_class(name=lambda self: "x"), "not a text"),
    "Callback.name = ['a']": (lambda: with_class(name=["a"]), "not a text"),
    "Callback.guard = 3": (lambda: with_class(guard=3), "not True or False"),
    "Callback.guard = None": (lambda: with_class(guard=None), "not True or False"),
    "Callback.guard = 'yes'": (lambda: with_class(guard="yes"), "not True or False"),
    "Callback.guard_fix = 3": (lambda: with_class(guard_fix=3), "not a text"),
    "Callback.essential = 1": (lambda: with_class(essential=1), "not True or False"),
    "Callback.access_fix = 3": (lambda: with_class(access_fix=3), "not a text"),
    "Callback.skips_updates = 1": (lambda: with_class(skips_updates=1), "not True or False"),
    "Callback.every_backward = 1": (lambda: with_class(every_backward=1), "not True or False"),
    "Callback.optional_state = 1": (lambda: with_class(optional_state=1), "not True or False"),
    "Callback.optional_state = None": (lambda: with_class(optional_state=None), "not True or False"),
    "Callback.main_process_only = 1": (lambda: with_class(main_process_only=1), "not True or False"),
    "Callback.hyperparameters = 3": (lambda: with_class(hyperparameters=3), "not a tuple"),
    "Callback.hyperparameters = None": (lambda: with_class(hyperparameters=None), "not a tuple"),
    "Callback.hyperparameters = (3,)": (lambda: with_class(hyperparameters=(3,)), "not a tuple"),
    "Callback.hyperparameters = 'lr'": (lambda: with_class(hyperparameters="lr"), "not a tuple"),
    "Callback.move_data = 3": (lambda: with_class(move_data=3), "not a function"),
    "Callback.move_data = 'cpu'": (lambda: with_class(move_data="cpu"), "not a function"),
    "Callback.wrapped = 3": (lambda: with_class(wrapped=3), "not a Callback"),
    "Callback.wrapped = Callback": (lambda: with_class(wrapped=Callback), "not a Callback"),
    "Callback.state_access = 3": (lambda: with_class(state_access=3), "not a mapping"),
    "Callback.state_access = ['model']": (lambda: with_class(state_access=["model"]), "not a mapping"),
    "Callback.state_access = None": (lambda: with_class(state_access=None), "not a mapping"),
    "Callback.state_access = {3: Read}": (lambda: with_class(state_access={3: Read}), "not a path"),
    "Callback.state_access = {'': Read}": (lambda: with_class(state_access={"": Read}), "not a path"),
    "Callback.state_access = {'step.': Read}": (lambda: with_class(state_access={"step.": Read}), "not a path"),
    "Callback.state_access = {'stepp': Read}": (
        lambda: with_class(state_access={"stepp": Read}),
        "Did you mean `step`",
    ),
    "Callback.state_access = {'step': 'r'}": (lambda: with_class(state_access={"step": "r"}), "invalid permission"),
    "Callback.state_access = {'step': None}": (lambda: with_class(state_access={"step": None}), "invalid permission"),
    "Callback.state_access = {'step': Read()}": (
        lambda: with_class(state_access={"step": Read()}),
        "invalid permission",
    ),
    "Callback.state_access = {'loop': Read}": (lambda: with_class(state_access={"loop": Read}), "entered as a whole"),
    "Callback.run_after = 3": (lambda: with_class(run_after=3), "not a tuple"),
    "Callback.run_after = None": (lambda: with_class(run_after=None), "not a tuple"),
    "Callback.run_after = 'recorder'": (lambda: with_class(run_after="recorder"), "not a tuple"),
    "Callback.run_after = Callback": (lambda: with_class(run_after=Callback), "not a tuple"),
    "Callback.run_after = (3,)": (lambda: with_class(run_after=(3,)), "not a class of callbacks or a name"),
    "Callback.run_after = (Callback(),)": (
        lambda: with_class(run_after=(Callback(),)),
        "not a class of callbacks or a name",
    ),
    "Callback.resolve_conflict = 3": (
        lambda: with_class(resolve_conflict=3),
        "Mine\\.resolve_conflict must be a function",
    ),
    "Callback.resolve_conflict = lambda self: None": (
        lambda: with_class(resolve_conflict=lambda self: None),
        "is called with \\(other\\)",
    ),
    "Callback.resolve_conflict = lambda self, a, b: None": (
        lambda: with_class(resolve_conflict=lambda self, a, b: None),
        "is called with \\(other\\)",
    ),
    "Callback.state_dict = 3": (lambda: with_class(state_dict=3), "Mine\\.state_dict must be a function"),
    "Callback.state_dict = lambda self, x: {}": (
        lambda: with_class(state_dict=lambda self, x: {}),
        "is called with \\(\\)",
    ),
    "Callback.state_dict = lambda self: {}": (
        lambda: with_class(state_dict=lambda self: {}),
        "and no `load_state_dict`",
    ),
    "Callback.load_state_dict = 3": (
        lambda: with_class(load_state_dict=3),
        "Mine\\.load_state_dict must be a function",
    ),
    "Callback.load_state_dict = lambda self: None": (
        lambda: with_class(load_state_dict=lambda self: None),
        "is called with \\(state\\)",
    ),
    "Callback.on_step_end = 3": (lambda: with_class(on_step_end=3), "is a int, and only a method"),
    "Callback.on_step_end = 'x'": (lambda: with_class(on_step_end="x"), "is a str, and only a method"),
    "Callback.on_step_end = lambda: None": (lambda: with_class(on_step_end=lambda: None), "does not take `self`"),
    "Callback.on_step_end = lambda learner: None": (
        lambda: with_class(on_step_end=lambda learner: None),
        "does not take `self`",
    ),
    "Callback.on_step_end = lambda self, learnr: None": (
        lambda: with_class(on_step_end=lambda self, learnr: None),
        "does not match the hook",
    ),
    "Callback.on_step_end = lambda self, learner=3: None": (
        lambda: with_class(on_step_end=lambda self, learner=3: None),
        "gives `learner` a default",
    ),
    "Callback.on_step_end = annotated(int)": (
        lambda: with_class(on_step_end=annotated(int)),
        "which is not a type of phase",
    ),
    "Callback.on_step_end = annotated(TrainingPhase())": (
        lambda: with_class(on_step_end=annotated(TrainingPhase())),
        "which is not a type of phase",
    ),
    "Callback.on_step_end = annotated(None)": (
        lambda: with_class(on_step_end=annotated(None)),
        "which is not a type of phase",
    ),
    "Callback.on_step_end = annotated('Nope')": (
        lambda: with_class(on_step_end=annotated("Nope")),
        "annotates `phase` with 'Nope'",
    ),
    "Callback.on_step_end = annotated('1 +')": (
        lambda: with_class(on_step_end=annotated("1 +")),
        "annotates `phase` with '1",
    ),
    "Callback.on_step_end = awaited": (lambda: with_class(on_step_end=awaited), "is an `async def`"),
    "Callback.on_step_end = generator": (lambda: with_class(on_step_end=generator), "has a `yield`"),
    "Callback.on_step_end = property(generator)": (
        lambda: with_class(on_step_end=property(generator)),
        "is a property",
    ),
    "Callback.on_step_end = staticmethod(lambda foo: None)": (
        lambda: with_class(on_step_end=staticmethod(lambda foo: None)),
        "does not match the hook",
    ),
    "Callback.on_step_end = hookimpl(tryfirst=True)(lambda self: None)": (
        lambda: with_class(on_step_end=hookimpl(tryfirst=True)(lambda self: None)),
        "tryfirst",
    ),
    "Callback.on_step_end = hookimpl(trylast=True)(lambda self: None)": (
        lambda: with_class(on_step_end=hookimpl(trylast=True)(lambda self: None)),
        "trylast",
    ),
    "Callback.on_step_end = hookimpl(wrapper=True)(lambda self: None)": (
        lambda: with_class(on_step_end=hookimpl(wrapper=True)(lambda self: None)),
        "wrapper without a `yield`",
    ),
    "Callback.on_step_ends = lambda self: None": (
        lambda: with_class(on_step_ends=lambda self: None),
        "Did you mean `on_step_end`",
    ),
    "Callback.note = hookimpl(specname='on_step_end')(lambda self: None)": (
        lambda: with_class(note=hookimpl(specname="on_step_end")(lambda self: None)),
        "no such event",
    ),
    "Callback.on_init = 3": (lambda: with_class(on_init=3), "is a int, and only a method"),
    "Callback.on_init = lambda self, phase: None": (
        lambda: with_class(on_init=lambda self, phase: None),
        "does not match the hook",
    ),
    "Callback.update = lambda self: 'yes'": (lambda: with_class(update=lambda self: "yes"), "returned 'yes'"),
    "Callback.update = lambda self: 3": (lambda: with_class(update=lambda self: 3), "returned 3"),
    "Callback.update = lambda self: torch.tensor(False)": (
        lambda: with_class(update=lambda self: torch.tensor(False)),
        "returned tensor\\(False\\)",
    ),
    "Callback.loss = lambda self: 3": (lambda: with_class(loss=lambda self: 3), "returned 3; a loss is one number"),
    "Callback.loss = lambda self: 'x'": (lambda: with_class(loss=lambda self: "x"), "returned 'x'"),
    "callback.on_step_end = 3": (lambda: with_attribute("on_step_end", 3), "is a int, and only a method"),
    "callback.on_step_end = []": (lambda: with_attribute("on_step_end", []), "is a list, and only a method"),
    "callback.on_init = 'x'": (lambda: with_attribute("on_init", "x"), "is a str, and only a method"),
    "callback.on_step_end = lambda learner, more: 0": (
        lambda: with_attribute("on_step_end", lambda learner, more: 0),
        "does not match the hook",
    ),
    "callback.on_stepend = lambda: 0": (lambda: with_attribute("on_stepend", lambda: 0), "Did you mean `on_step_end`"),
    "callback.state_access = 3": (lambda: with_attribute("state_access", 3), "not a mapping"),
    "callback.guard = 3": (lambda: with_attribute("guard", 3), "not True or False"),
    "callback.name = 3": (lambda: with_attribute("name", 3), "not a text"),
    "callback.resolve_conflict = 3": (lambda: with_attribute("resolve_conflict", 3), "must be a function"),
    "callback.state_dict = 3": (lambda: with_attribute("state_dict", 3), "must be a function"),
    "resolve_conflict returns 3": (lambda: resolved_by(3), "3"),
    "resolve_conflict returns 'first'": (lambda: resolved_by("first"), "'first'"),
    "resolve_conflict returns RunFirst": (lambda: resolved_by(RunFirst), "RunFirst"),
    "resolve_conflict returns RunFirst(3)": (lambda: resolved_by(RunFirst(3)), "RunFirst"),
    "resolve_conflict returns RunFirst(None)": (lambda: resolved_by(RunFirst(None)), "RunFirst"),
    "resolve_conflict returns True": (lambda: resolved_by(True), "True"),
    "Unresolvable(3)": (lambda: Unresolvable(3), "reason must be an instance of str"),
    "Unresolvable(None)": (lambda: Unresolvable(None), "reason must be an instance of str"),
    "Unresolvable(['why'])": (lambda: Unresolvable(["why"]), "reason must be an instance of str"),
    "CustomCallback(None, StepEnd)": (
        lambda: CustomCallback(None, StepEnd),
        "CustomCallback needs a function, got None",
    ),
    "CustomCallback(3, StepEnd)": (lambda: CustomCallback(3, StepEnd), "got 3"),
    "CustomCallback(lambda: 0, StepEnd)": (
        lambda: CustomCallback(lambda: 0, StepEnd),
        "f is called with \\(learner\\), and <lambda> takes \\(\\)",
    ),
    "CustomCallback(lambda a, b: 0, StepEnd)": (lambda: CustomCallback(lambda a, b: 0, StepEnd), "takes \\(a, b\\)"),
    "CustomCallback(print, None)": (lambda: CustomCallback(print, None), "needs the class of an event"),
    "CustomCallback(print, StepEnd())": (lambda: CustomCallback(print, StepEnd()), "needs the class of an event"),
    "CustomCallback(print, 'on_step_end')": (
        lambda: CustomCallback(print, "on_step_end"),
        "needs the class of an event",
    ),
    "CustomCallback(print, TrainingPhase)": (
        lambda: CustomCallback(print, TrainingPhase),
        "needs the class of an event",
    ),
    "CustomCallback(print, StepEnd, 3)": (lambda: CustomCallback(print, StepEnd, 3), "needs a type of phase"),
    "CustomCallback(print, StepEnd, TrainingPhase())": (
        lambda: CustomCallback(print, StepEnd, TrainingPhase()),
        "needs a type of phase",
    ),
    "CustomCallback(print, StepEnd, None)": (lambda: CustomCallback(print, StepEnd, None), "needs a type of phase"),
    "CustomCallback(print, StepEnd, Phase, 3)": (lambda: CustomCallback(print, StepEnd, Phase, 3), "not a mapping"),
    "CustomCallback(print, StepEnd, Phase, ['model'])": (
        lambda: CustomCallback(print, StepEnd, Phase, ["model"]),
        "not a mapping",
    ),
    "CustomCallback(print, StepEnd, Phase, {'modl': Read})": (
        lambda: CustomCallback(print, StepEnd, Phase, {"modl": Read}),
        "Did you mean `model`",
    ),
    "CustomCallback(print, StepEnd, Phase, {'model': 'w'})": (
        lambda: CustomCallback(print, StepEnd, Phase, {"model": "w"}),
        "invalid permission",
    ),
    "unwrap(None)": (lambda: unwrap(None), "is not a Callback"),
    "unwrap(3)": (lambda: unwrap(3), "is not a Callback"),
    "unwrap('recorder')": (lambda: unwrap("recorder"), "is not a Callback"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_a_typed_error_that_names_the_thing_and_the_fix(make, message):
    with pytest.raises(TreadleError, match=message) as caught:
        make()
    assert "Fix: " in str(caught.value)


def test_a_handler_that_is_set_to_none_is_none() -> None:
    log: list[int] = []
    noisy, silent = (type("Mine", (Callback,), {"on_step_end": lambda self: log.append(1)})() for _ in range(2))
    silent.on_step_end = None
    toy_learner(noisy, silent, nbatches=3, data=([(torch.ones(1, 1), torch.ones(1, 1))] * 3,)).fit(1)
    assert log == [1, 1, 1]


@pytest.mark.parametrize("state", [3, None, "x", [1]])
def test_a_state_that_is_no_dict_is_refused_where_it_is_captured(state) -> None:
    methods = {"state_dict": lambda self: state, "load_state_dict": lambda self, state: None}
    with pytest.raises(
        CallbackError, match=r"^Mine\.state_dict returned .*, not a dict\.\nFix: return the state by names"
    ):
        capture_run(toy_learner(type("Mine", (Callback,), methods)()))


def test_an_example_is_made_without_arguments_unless_a_class_says_otherwise() -> None:
    class Needs(Callback):
        def __init__(self, n):
            self.n = n

    class Says(Needs):
        @classmethod
        def example(cls):
            return cls(3)

    assert type(Callback.example()) is Callback
    assert Says.example().n == 3
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'n'"):
        Needs.example()
