import itertools
import random

import networkx as nx
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from treadle import (
    AccessError,
    Callback,
    CallbackConflictError,
    CallbackError,
    EpochBegin,
    EpochEnd,
    NoConflict,
    NotDefined,
    Phase,
    Read,
    RunFirst,
    StepBegin,
    StepEnd,
    TrainingPhase,
    Unresolvable,
    ValidationPhase,
    Write,
    callback_graph,
    hookimpl,
    run_step,
    toy_learner,
)
from treadle.errors import Problem
from treadle.events import Init
from treadle.operations import Forward, known_operations
from treadle.ordering.graph import Ordering
from treadle.plugins.discovery import CALLBACKS, load


@hookimpl(wrapper=True)
def wrapping(self):
    return (yield)


def make(name: str, *, at: str = "on_step_end", after=(), resolution=None, base: type = Callback, **access) -> Callback:
    """A callback of a class of its own: what it handles, runs after, resolutions, reads (r=...) and writes (w=...)."""
    declared = dict.fromkeys(access.get("r", "").split(), Read) | dict.fromkeys(access.get("w", "").split(), Write)
    body = {method: wrapping if method in known_operations() else lambda self: None for method in at.split()}
    if resolution is not None:
        body["resolve_conflict"] = lambda self, other: resolution(self, other)
    return type(name, (base,), {"state_access": declared, "run_after": after, **body})()


ZERO = make("Zero", at="on_init", w="cbstate")


def edges(*callbacks: Callback) -> list[tuple[str, str]]:
    return sorted((before.name, after.name) for before, after in callback_graph(callbacks).edges)


def order(hook, *callbacks: Callback, phase: type[Phase] = TrainingPhase) -> list[str]:
    return [callback.name for callback in Ordering(callbacks).order(hook, phase)]


def problems(*callbacks: Callback) -> list[str]:
    with pytest.raises(CallbackConflictError) as refused:
        callback_graph(callbacks)
    return [str(problem) for problem in refused.value.problems]


# Ties, and what orders.


def test_the_nodes_are_the_callbacks() -> None:
    a, b = make("A"), make("B")
    graph = callback_graph([b, a])
    assert isinstance(graph, nx.DiGraph)
    assert set(graph.nodes) == {a, b}
    assert callback_graph([]).nodes == nx.DiGraph().nodes


def test_without_edges_the_order_is_that_of_the_names() -> None:
    assert order(StepEnd, make("C"), make("A"), make("B")) == ["A", "B", "C"]


def test_among_equal_names_it_is_the_order_given() -> None:
    first, second = make("Same"), make("Same")
    assert Ordering([first, second]).order(StepEnd, TrainingPhase) == (first, second)
    assert Ordering([second, first]).order(StepEnd, TrainingPhase) == (second, first)


def test_the_name_that_counts_is_the_callbacks_own() -> None:
    a, b = make("A"), make("B")
    a.name = "Z"
    assert order(StepEnd, a, b) == ["B", "Z"]


def test_the_writer_runs_before_the_reader() -> None:
    reader, writer = make("Reader", r="cbstate.x"), make("Writer", w="cbstate.x")
    graph = callback_graph([reader, writer])
    assert dict(graph.edges) == {
        (writer, reader): {"reason": "Reader reads `cbstate.x`, which Writer writes", "events": (StepEnd,)}
    }


@pytest.mark.parametrize(
    ("written", "read", "reason"),
    [
        ("step", "step.loss", "R reads `step.loss`, and W writes `step`"),
        ("step.loss", "step", "R reads `step`, and W writes `step.loss`"),
        ("cbstate.a.b", "cbstate.a", "R reads `cbstate.a`, and W writes `cbstate.a.b`"),
        ("model", "model", "R reads `model`, which W writes"),
        ("params", "model", "R reads `model`, and W writes `params`"),
        ("model", "step.grads", "R reads `step.grads`, and W writes `model`"),
        ("step.grads", "params.weight", "R reads `params.weight`, and W writes `step.grads`"),
        ("model", "step", "R reads `step`, and W writes `model`"),
    ],
)
def test_paths_overlap_by_prefix(written, read, reason) -> None:
    reader, writer = make("R", r=read), make("W", w=written)
    assert callback_graph([reader, writer]).edges[writer, reader]["reason"] == reason


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"r": "step.loss"}, {"r": "step.loss"}),
        ({"w": "step.loss"}, {"w": "step.xs"}),
        ({"w": "step.loss"}, {"r": "step.losses"}),
        ({"w": "cbstate.a.b"}, {"r": "cbstate.a.c", "w": "cbstate.a.c"}),
    ],
)
def test_what_does_not_overlap_with_a_write_needs_no_order(one, other) -> None:
    assert edges(make("A", **one), make("B", **other)) == []


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(["model", "params", "step.grads"], 2)))
def test_two_that_write_the_weights_by_different_names_conflict(one, other) -> None:
    (problem,) = problems(make("A", w=one), make("B", w=other))
    assert problem.startswith(f"A and B both write `{one}` and `{other}`, and nothing orders them.")


# Who enters the loop.


def test_who_enters_the_loop_runs_after_every_writer_that_it_meets() -> None:
    looper = make("A", w="loop")
    weights, entries = make("B", w="params"), make("C", w="cbstate.x")
    elsewhere = make("D", at="on_epoch_end", w="optimizer")
    assert edges(looper, weights, entries, elsewhere, make("E", r="cbstate.x")) == [("B", "A"), ("C", "A"), ("C", "E")]
    assert callback_graph([looper, weights]).edges[weights, looper]["reason"] == (
        "A enters the loop, and B writes `params`"
    )


@pytest.mark.parametrize("name", ["A", "Z"])
def test_who_enters_the_loop_runs_after_all_that_nothing_puts_behind_it_whatever_their_names(name) -> None:
    """Entering calls the others: what they count and when they cancel would depend on names."""
    looper = make(name, w="loop cbstate.x")
    behind, counter, last = make("B", r="cbstate.x"), make("C"), make("D", after=("B",))
    order = Ordering([last, counter, looper, behind]).order(StepEnd, TrainingPhase)
    assert [callback.name for callback in order] == ["C", name, "B", "D"]


def test_two_that_enter_the_loop_need_an_order() -> None:
    (problem,) = problems(make("A", w="loop"), make("B", w="loop"))
    assert problem.startswith("A and B both write `loop`, and nothing orders them.")
    assert edges(make("A", w="loop"), make("B", w="loop", after=("A",))) == [("A", "B")]


def test_who_enters_the_loop_may_run_before_a_writer_if_that_is_declared() -> None:
    assert edges(make("A", w="loop"), make("B", w="params", after=("A",))) == [("A", "B")]


def test_who_enters_the_loop_needs_no_writers_of_what_is_read_in_it() -> None:
    assert edges(make("A", w="loop")) == []


# Where they meet.


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("on_step_end", "on_step_end", True),
        ("on_step_end", "on_step_begin", False),
        ("on_init", "on_init", True),
        ("on_fit_end", "on_fit_end", True),
        ("on_init", "on_fit_begin", False),
        ("forward", "on_loss_begin", False),
        ("on_step_end on_init", "on_epoch_end on_init", True),
    ],
)
def test_two_meet_where_both_handle_one_hook(one, other, meet) -> None:
    reader, writer = make("Reader", at=one, r="cbstate.x"), make("Writer", at=other, w="cbstate.x")
    assert edges(reader, writer) == ([("Writer", "Reader")] if meet else [])


def handling(name: str, phase: object, **access) -> Callback:
    callback = make(name, **access)
    type(callback).on_step_end = lambda self, phase: None
    type(callback).on_step_end.__annotations__["phase"] = phase
    return callback


class Sub(TrainingPhase):
    """A kind of training."""


class One(Phase):
    """Of one kind."""


class Two(Phase):
    """Of another."""


class Either(One, Two):
    """Of both kinds."""


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        (TrainingPhase, TrainingPhase, True),
        (TrainingPhase, Phase, True),
        (TrainingPhase, Sub, True),
        (Sub, ValidationPhase, False),
        (TrainingPhase | ValidationPhase, ValidationPhase, True),
    ],
)
def test_and_in_the_same_phase(one, other, meet) -> None:
    reader, writer = handling("Reader", one, r="cbstate.x"), handling("Writer", other, w="cbstate.x")
    assert edges(reader, writer) == ([("Writer", "Reader")] if meet else [])


def test_two_phases_meet_in_a_phase_that_is_both_and_that_a_handler_names() -> None:
    reader, writer = handling("Reader", One, r="cbstate.x"), handling("Writer", Two, w="cbstate.x")
    assert edges(reader, writer) == []
    assert edges(reader, writer, handling("Third", Either)) == [("Writer", "Reader")]


def test_a_phase_that_is_declared_later_is_ordered_when_it_comes() -> None:
    log = []

    def noting(name: str, phase: type[Phase], **access) -> Callback:
        callback = handling(name, phase, **access)
        type(callback).on_step_end = lambda self, phase: log.append(self.name)
        type(callback).on_step_end.__annotations__["phase"] = phase
        return callback

    class First(Phase):
        """Of one kind."""

    class Second(Phase):
        """Of another."""

    reader, writer = noting("Reader", First, r="cbstate.x"), noting("Writer", Second, w="cbstate.x")
    learner = toy_learner(reader, writer)
    conflicting = toy_learner(noting("A", First, w="cbstate.x"), noting("B", Second, w="cbstate.x"))

    class Late(First, Second):
        """Both of them, declared after the learners were made."""

    with run_step(learner, Late()):
        pass
    assert log == ["Writer", "Reader"]
    with pytest.raises(CallbackConflictError, match="A and B both write"), run_step(conflicting, Late()):
        pass


def test_a_type_of_phase_that_no_handler_names_changes_nothing() -> None:
    training, validation = make("A", at="on_step_end", w="cbstate.x"), make("B", at="on_step_end", w="cbstate.x")
    type(training).on_step_end = lambda self, phase: None
    type(validation).on_step_end = lambda self, phase: None
    type(training).on_step_end.__annotations__["phase"] = TrainingPhase
    type(validation).on_step_end.__annotations__["phase"] = ValidationPhase

    class Both(TrainingPhase, ValidationPhase):
        """Somewhere in the process, in which the two would meet and conflict."""

    assert callback_graph([training, validation]).number_of_edges() == 0
    with (
        pytest.raises(CallbackConflictError, match="A and B both write"),
        run_step(toy_learner(training, validation), Both()),
    ):
        pass


def test_each_edge_names_the_hooks_where_the_two_meet_in_the_order_of_the_loop() -> None:
    writer = make("Writer", at="forward on_step_begin on_init on_epoch_end", w="cbstate.x")
    reader = make("Reader", at="on_step_end on_step_begin on_init forward", r="cbstate.x", after=("Writer",))
    (data,) = callback_graph([reader, writer]).edges.values()
    assert data["events"] == (Init, StepBegin, Forward)


# run_after.


class Base(Callback):
    def on_step_end(self): ...


class Child(Base): ...


class LongName(Base): ...


@pytest.mark.parametrize(
    ("entry", "before", "name"),
    [
        (Child, Child(), "Child"),
        (Base, Child(), "Base"),
        ("Child", Child(), "Child"),
        ("child", Child(), "child"),
        ("Base", Child(), "Base"),
        ("base", Child(), "base"),
        ("long_name", LongName(), "long_name"),
    ],
)
def test_run_after_names_a_class_a_base_class_or_their_names(entry, before, name) -> None:
    late = make("A", after=(entry,))
    graph = callback_graph([late, before])
    assert graph.edges[before, late]["reason"] == f"A.run_after names {name}"
    assert [callback.name for callback in Ordering([late, before]).order(StepEnd, TrainingPhase)] == [before.name, "A"]


def test_run_after_names_a_callback_by_the_name_that_it_was_given() -> None:
    named = make("Z")
    named.name = "the first"
    assert edges(make("A", after=("the first",)), named) == [("the first", "A")]


def test_run_after_names_an_entry_point(install) -> None:
    install(
        "entry-plugin",
        files={
            "entry_plugin.py": "from treadle import Callback\nclass Odd(Callback):\n    def on_step_end(self): ...\n"
        },
        entry_points={CALLBACKS: {"quite_another": "entry_plugin:Odd"}},
    )
    assert edges(make("A", after=("quite_another",)), load("quite_another")()) == [("Odd", "A")]


def test_an_unknown_name_in_run_after_orders_nothing() -> None:
    assert edges(make("A", after=("unknown_recorder",)), make("B")) == []


def test_a_callback_does_not_run_after_itself() -> None:
    assert edges(make("A", after=(Callback, "A"))) == []


def test_run_after_holds_whether_they_share_state_or_not_and_where_they_do_not_meet() -> None:
    late, early = make("A", after=("B",)), make("B", at="on_epoch_end")
    (data,) = callback_graph([late, early]).edges.values()
    assert data == {"reason": "A.run_after names B", "events": ()}


def test_run_after_goes_through_callbacks_that_do_not_handle_the_event() -> None:
    a = make("A", at="on_step_end on_epoch_end", after=("B",))
    b = make("B", at="on_epoch_end", after=("C",))
    c = make("C", at="on_step_end on_epoch_end")
    assert order(StepEnd, a, b, c) == ["C", "A"]
    assert order(EpochEnd, a, b, c) == ["C", "B", "A"]


def test_run_after_orders_what_would_conflict_also_through_others() -> None:
    a = make("A", after=("B",), w="cbstate.x")
    b = make("B", at="on_epoch_end", after=("C",))
    c = make("C", w="cbstate.x")
    assert order(StepEnd, a, b, c) == ["C", "A"]


def test_run_after_goes_before_the_data_flow_and_before_every_resolution() -> None:
    reader = make("Reader", r="cbstate.x")
    writer = make("Writer", w="cbstate.x", after=("Reader",), resolution=lambda self, other: RunFirst(self))
    assert edges(reader, writer) == [("Reader", "Writer")]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (
            "recorder",
            r"Odd\.run_after is 'recorder', not a tuple\.\nFix: write a tuple:\n    run_after = \('recorder',\)",
        ),
        (Child, r"Odd\.run_after is Child, not a tuple\.\n.*\n    run_after = \(Child,\)"),
        (None, r"Odd\.run_after is None, not a tuple\.\nFix: write a tuple:\n    run_after = \(\)$"),
        (
            (3,),
            r"Odd\.run_after has 3, which is not a class of callbacks or a name\.\nFix: list callback classes, .*:\n",
        ),
        ((int,), r"Odd\.run_after has <class 'int'>, which is not a class of callbacks"),
        ((Child(),), r"Odd\.run_after has <Child>, which is not a class of callbacks"),
    ],
)
def test_a_run_after_that_makes_no_sense_is_refused(declared, message) -> None:
    with pytest.raises(AccessError, match=message):
        callback_graph([make("Odd", after=declared)])


@pytest.mark.parametrize("kind", [tuple, list, set, frozenset])
def test_run_after_is_any_collection(kind) -> None:
    assert edges(make("A", after=kind(["B", "C"])), make("B"), make("C")) == [("B", "A"), ("C", "A")]


# Resolutions.


def both_writers(first=None, second=None) -> tuple[Callback, Callback]:
    return make("First", w="cbstate.x", resolution=first), make("Second", w="cbstate.x", resolution=second)


RESOLUTIONS = [
    (lambda first, second: RunFirst(first), [("First", "Second")]),
    (lambda first, second: RunFirst(second), [("Second", "First")]),
    (lambda first, second: NoConflict(), []),
]


@pytest.mark.parametrize("who", ["first", "second", "both", "plugin", "plugin, in one order"])
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(("resolution", "expected"), RESOLUTIONS, ids=["first", "second", "no conflict"])
def test_a_resolution_counts_from_either_side_and_order_and_from_a_plugin(who, swap, resolution, expected) -> None:
    first, second = both_writers()

    def resolved(self, other):
        return resolution(first, second)

    def plugin(one, other):
        if who == "plugin" or (who == "plugin, in one order" and (one, other) == (first, second)):
            return [("a plugin", resolution(first, second))]
        return []

    for callback, name in ((first, "first"), (second, "second")):
        if who in (name, "both"):
            type(callback).resolve_conflict = resolved
    callbacks = [second, first] if swap else [first, second]
    graph = Ordering(callbacks, plugin).graph
    assert sorted((before.name, after.name) for before, after in graph.edges) == expected


def test_the_reason_names_the_source_of_the_decision() -> None:
    first, second = both_writers(None, lambda self, other: RunFirst(self))
    assert (
        callback_graph([first, second]).edges[second, first]["reason"]
        == "RunFirst(Second), from Second.resolve_conflict"
    )


@pytest.mark.parametrize("resolution", [lambda self, other: RunFirst(self), lambda self, other: NoConflict()])
def test_a_resolution_counts_for_a_reader_and_a_writer_too(resolution) -> None:
    reader, writer = make("Reader", r="cbstate.x", resolution=resolution), make("Writer", w="cbstate.x")
    expected = [("Reader", "Writer")] if isinstance(resolution(reader, writer), RunFirst) else []
    assert edges(reader, writer) == expected


def test_no_resolution_is_asked_for_without_shared_state() -> None:
    asked = []

    def resolution(self, other):
        asked.append(other)
        return Unresolvable()

    a = make("A", r="step.xs step.loss", resolution=resolution)
    assert edges(a, make("B", r="step.loss"), make("C", at="on_epoch_end", w="step.xsx step.ys")) == []
    assert asked == []


# Pairs that need no order, and are asked all the same.

APART = [
    pytest.param("on_epoch_end", (), id="they never meet"),
    pytest.param("on_step_end", ("First",), id="run_after orders them"),
]


def apart(at: str, after: tuple[str, ...], first=None, second=None) -> tuple[Callback, Callback]:
    return make("First", w="cbstate.x", resolution=first), make(
        "Second", at=at, r="cbstate.x", after=after, resolution=second
    )


@pytest.mark.parametrize(("at", "after"), APART)
@pytest.mark.parametrize("who", ["first", "second", "plugin", "user"])
def test_two_that_contradict_each_other_are_refused_wherever_they_stand(at, after, who) -> None:
    def no(*pair):
        return Unresolvable("Half of it is not all of it.")

    callbacks = apart(at, after, no if who == "first" else None, no if who == "second" else None)
    plugin = (lambda first, second: [("a plugin", no())]) if who == "plugin" else (lambda first, second: [])
    sources = {"first": "First.resolve_conflict", "second": "Second.resolve_conflict", "plugin": "a plugin"}
    source = sources.get(who, "the learner's `resolve`")
    with pytest.raises(
        CallbackConflictError,
        match=rf"First and Second cannot be used together \(from {source}\): Half of it is not all of it\.",
    ):
        Ordering(callbacks, plugin, no if who == "user" else None)


@pytest.mark.parametrize(("at", "after"), APART)
@pytest.mark.parametrize(
    "resolution", [lambda self, other: RunFirst(self), lambda self, other: NoConflict(), lambda self, other: None]
)
def test_no_other_resolution_has_a_meaning_for_them(at, after, resolution) -> None:
    callbacks = apart(at, after, resolution, lambda self, other: RunFirst(self))
    assert edges(*callbacks) == [("First", "Second")] * bool(after)


@pytest.mark.parametrize("undecided", [lambda self, other: NotDefined(), lambda self, other: None])
def test_no_resolution_leaves_it_to_the_other(undecided) -> None:
    assert edges(*both_writers(undecided, lambda self, other: RunFirst(self))) == [("Second", "First")]


def test_two_writers_that_nothing_orders_are_a_problem_with_its_fix() -> None:
    assert problems(*both_writers()) == [
        "First and Second both write `cbstate.x`, and nothing orders them.\n"
        "Fix: leave one of them out, or choose which runs first, where the learner is made:\n"
        '    Learner(..., resolve={("First", "Second"): "first"})  # or "second", or "any" if any order is right\n'
        "Or, if you wrote First or Second, decide there:\n"
        "    def resolve_conflict(self, other):\n"
        "        return RunFirst(self) if isinstance(other, Second) else NotDefined()  # in First"
    ]


def test_two_callbacks_of_one_class_that_conflict_are_fixed_by_using_one() -> None:
    first, second = make("Same", w="step.xs"), None
    second = type(first)()
    (problem,) = problems(first, second)
    assert "Same and Same both write `step.xs`" in problem
    assert problem.endswith(
        "Fix: use only one of them, or name one of them and choose which runs first, where the learner is made:\n"
        '    another.name = "another"\n'
        '    Learner(..., resolve={("Same", "another"): "first"})\n'
        "Or, if any order is right:\n"
        '    Learner(..., resolve={("Same", "Same"): "any"})\n'
        "Or, if you wrote Same, decide there:\n"
        "    def resolve_conflict(self, other):\n"
        '        return NoConflict() if isinstance(other, Same) else NotDefined()  # or Unresolvable("why")'
    )


def test_two_callbacks_of_one_class_can_be_ordered_by_their_names() -> None:
    first = make("Same", w="step.xs")
    second = type(first)()
    second.name = "another"
    (problem,) = problems(first, second)
    assert '    Learner(..., resolve={("Same", "another"): "first"})  # or "second"' in problem


def test_writers_at_overlapping_paths_conflict_as_well() -> None:
    (problem,) = problems(make("A", w="cbstate.x"), make("B", w="cbstate.x.y"))
    assert problem.startswith("A and B both write `cbstate.x` and `cbstate.x.y`, and nothing orders them.")


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("They cancel each other.", "(from First.resolve_conflict): They cancel each other."),
        ("", "(from First.resolve_conflict); both use `cbstate.x`."),
    ],
)
def test_what_is_unresolvable_says_why_in_its_own_words(reason, why) -> None:
    (problem,) = problems(*both_writers(lambda self, other: Unresolvable(reason)))
    assert problem == (
        f"First and Second cannot be used together {why}\nFix: leave First or Second out of the learner's callbacks."
    )


def test_a_refusal_among_different_resolutions_is_quoted_with_its_reason() -> None:
    first, second = both_writers(lambda self, other: RunFirst(self), lambda self, other: Unresolvable("They cancel."))
    (problem,) = problems(first, second)
    assert problem.startswith(
        "First and Second both use `cbstate.x`, and their resolutions differ: RunFirst(First) from "
        "First.resolve_conflict; Unresolvable() from Second.resolve_conflict (They cancel).\n"
        "Fix: leave one of them out.\n"
    )


def test_two_different_resolutions_are_both_quoted() -> None:
    first, second = both_writers(lambda self, other: RunFirst(self), lambda self, other: NoConflict())
    assert problems(first, second) == [
        "First and Second both use `cbstate.x`, and their resolutions differ: RunFirst(First) from "
        "First.resolve_conflict; NoConflict() from Second.resolve_conflict.\n"
        "Fix: leave one of them out, or decide where the learner is made:\n"
        '    Learner(..., resolve={("First", "Second"): "first"})\n'
        "Or, if you wrote one of these resolutions, let it give way:\n"
        "    return NotDefined()"
    ]


def test_each_for_itself_first_is_two_different_resolutions() -> None:
    (problem,) = problems(*both_writers(*[lambda self, other: RunFirst(self)] * 2))
    assert "RunFirst(First) from First.resolve_conflict; RunFirst(Second) from Second.resolve_conflict." in problem


def test_a_callback_and_a_plugin_may_differ_too() -> None:
    first, second = both_writers(lambda self, other: RunFirst(self))
    with pytest.raises(
        CallbackConflictError, match=r"RunFirst\(First\) from First\.resolve_conflict; NoConflict\(\) from a plugin"
    ):
        Ordering([first, second], lambda one, other: [("a plugin", NoConflict())])


def test_two_that_are_both_unresolvable_agree() -> None:
    (problem,) = problems(
        *both_writers(lambda self, other: Unresolvable("Because."), lambda self, other: Unresolvable())
    )
    assert "cannot be used together (from First.resolve_conflict): Because." in problem


@pytest.mark.parametrize(
    ("resolution", "message"),
    [
        (
            lambda self, other: NoConflict,
            r"First\.resolve_conflict returned <class .*NoConflict'> for First and Second, which is not a resolution\.",
        ),
        (
            lambda self, other: True,
            r"returned True .*\nFix: return RunFirst\(callback\), NoConflict\(\), Unresolvable\(\) or NotDefined",
        ),
        (
            lambda self, other: RunFirst(Callback()),
            r"returned RunFirst\(<Callback>\) for First and Second, and it is neither",
        ),
    ],
)
def test_a_resolution_that_is_none_is_refused(resolution, message) -> None:
    with pytest.raises(AccessError, match=message):
        callback_graph(both_writers(resolution))


# Cycles.


def test_a_cycle_in_run_after_is_shown_as_a_chain() -> None:
    assert problems(make("A", after=("C",)), make("B", after=("A",)), make("C", after=("B",))) == [
        "`run_after` has a cycle: A -> B -> C -> A\n"
        "    A before B: B.run_after names A\n"
        "    B before C: C.run_after names B\n"
        "    C before A: A.run_after names C\n"
        "Fix: leave one of them out.\nOr, if you wrote one of them, take a name out of its run_after."
    ]


def test_run_after_must_be_free_of_cycles_also_where_no_two_meet() -> None:
    (problem,) = problems(make("A", at="on_step_end", after=("B",)), make("B", at="on_epoch_end", after=("A",)))
    assert problem.startswith("`run_after` has a cycle: A -> B -> A\n")


def test_a_cycle_of_reads_and_writes_is_shown_with_the_event() -> None:
    (problem,) = problems(
        make("A", r="cbstate.c", w="cbstate.a"),
        make("B", r="cbstate.a", w="cbstate.b"),
        make("C", r="cbstate.b", w="cbstate.c"),
    )
    assert problem.startswith(
        "The order at `on_step_end` has a cycle: A -> B -> C -> A\n"
        "    A before B: B reads `cbstate.a`, which A writes\n"
        "    B before C: C reads `cbstate.b`, which B writes\n"
        "    C before A: A reads `cbstate.c`, which C writes\n"
        "Fix: leave one of them out, or turn one of these reasons round, where the learner is made:\n"
        '    Learner(..., resolve={("B", "A"): "first"})\n'
        "Or, if you wrote one of them, take a name out of its run_after, or a path that it does not need out of its "
        "state_access."
    )


def test_two_that_read_from_one_another_are_a_cycle() -> None:
    (problem,) = problems(make("A", r="cbstate.b", w="cbstate.a"), make("B", r="cbstate.a", w="cbstate.b"))
    assert (
        "A before B: B reads `cbstate.a`, which A writes\n    B before A: A reads `cbstate.b`, which B writes\n"
        in problem
    )


def test_a_cycle_is_one_problem_at_however_many_events_it_is() -> None:
    at = "on_step_begin on_step_end on_epoch_end"
    assert (
        len(problems(make("A", at=at, r="cbstate.b", w="cbstate.a"), make("B", at=at, r="cbstate.a", w="cbstate.b")))
        == 1
    )


def test_a_cycle_through_one_that_does_not_handle_the_event_gives_the_whole_reason() -> None:
    a = make("A", after=("B",), w="cbstate.x")
    b = make("B", at="on_epoch_end", after=("C",))
    c = make("C", r="cbstate.y")
    d = make("D", r="cbstate.x", w="cbstate.y")
    (problem,) = problems(a, b, c, d)
    assert problem.startswith(
        "The order at `on_step_end` has a cycle: A -> D -> C -> A\n"
        "    A before D: D reads `cbstate.x`, which A writes\n"
        "    D before C: C reads `cbstate.y`, which D writes\n"
        "    C before A: B.run_after names C, A.run_after names B\n"
    )


def test_an_edge_that_one_event_needs_does_not_close_a_cycle_in_another() -> None:
    a = make("A", at="on_step_begin on_epoch_end", r="cbstate.c", w="cbstate.a")
    b = make("B", at="on_step_begin on_step_end", r="cbstate.a", w="cbstate.b")
    c = make("C", at="on_step_end on_epoch_end", r="cbstate.b", w="cbstate.c")
    assert order(StepBegin, a, b, c) == ["A", "B"]
    assert order(StepEnd, a, b, c) == ["B", "C"]
    assert order(EpochEnd, a, b, c) == ["C", "A"]


def test_an_edge_that_one_phase_needs_does_not_close_a_cycle_in_another() -> None:
    a = handling("A", TrainingPhase, r="cbstate.c", w="cbstate.a")
    b = handling("B", Phase, r="cbstate.a", w="cbstate.b")
    c = handling("C", ValidationPhase, r="cbstate.b", w="cbstate.c")
    assert order(StepEnd, a, b, c) == ["A", "B"]
    assert order(StepEnd, a, b, c, phase=ValidationPhase) == ["B", "C"]


# Reads without a writer.


@pytest.mark.parametrize("written", ["cbstate.x", "cbstate", "cbstate.x.deep"])
def test_a_read_of_cbstate_has_a_writer_whose_path_overlaps_wherever_it_writes(written) -> None:
    assert edges(make("Reader", r="cbstate.x"), make("Writer", at="on_init", w=written)) == []


@pytest.mark.parametrize("written", ["cbstate.xy", "cbstate.y.x", "step.x"])
def test_another_path_is_none(written) -> None:
    (problem,) = problems(make("Reader", r="cbstate.x"), make("Writer", at="on_init", w=written))
    assert problem.startswith("Reader reads `cbstate.x`, and no callback writes it.\nFix: add a callback of your own")


@pytest.mark.parametrize("path", ["step.anything", "data.test", "model", "cbstate"])
def test_what_is_outside_of_cbstate_needs_no_writer(path) -> None:
    assert edges(make("Reader", r=path)) == []


# All problems at once.


def test_every_problem_is_reported_at_once() -> None:
    found = problems(
        make("A", w="cbstate.x"),
        make("B", w="cbstate.x"),
        make("C", r="cbstate.nothing"),
        make("D", after=("E",), w="model"),
        make("E", after=("D",), w="model"),
        make("F", w="step.xs", resolution=lambda self, other: Unresolvable("No.")),
        make("G", r="step.xs"),
    )
    assert [problem.split(" ")[0] for problem in found] == ["A", "C", "F", "`run_after`"]


def test_a_problem_says_which_distributions_its_callbacks_come_from(install) -> None:
    install(
        "history-plugin",
        files={
            "history_plugin.py": "from treadle import Callback, Write\nclass Keeper(Callback):\n"
            "    state_access = {'cbstate.x': Write}\n    def on_step_end(self): ...\n"
        },
        entry_points={CALLBACKS: {"keeper": "history_plugin:Keeper"}},
        version="2.1",
    )
    (problem,) = problems(load("keeper")(), make("Mine", w="cbstate.x"))
    assert problem.startswith("Keeper and Mine both write `cbstate.x`, and nothing orders them.\nFix: ")
    assert problem.endswith("\nWhere they come from: Keeper (history-plugin 2.1), Mine (not a plugin)")


def test_a_problem_holds_the_callbacks_that_it_concerns() -> None:
    first, second = both_writers()
    with pytest.raises(CallbackConflictError) as refused:
        callback_graph([second, first])
    (problem,) = refused.value.problems
    assert isinstance(problem, Problem)
    assert problem.callbacks == (first, second)
    indented = str(problem).replace("\n", "\n   ")
    assert str(refused.value) == f"The callbacks have 1 problem that must be solved before training:\n1. {indented}"


def test_each_pair_is_one_problem_however_many_paths_and_events_it_shares() -> None:
    at = "on_step_begin on_step_end on_epoch_end"
    assert len(problems(make("A", at=at, w="step.xs step.ys model"), make("B", at=at, w="step.xs step.ys model"))) == 1


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ([Callback], r"Callback is a class, not a Callback\.\nFix: make an instance:\n    Callback\(\)"),
        ([3], r"3 is not a Callback"),
        ("A", r"callbacks must be a list, got 'A'"),
    ],
)
def test_the_graph_is_of_callbacks(callbacks, message) -> None:
    with pytest.raises(CallbackError, match=message):
        callback_graph(callbacks)


def test_the_graph_is_of_different_callbacks() -> None:
    a = make("A")
    with pytest.raises(CallbackError, match="A is in the list twice, the same object"):
        callback_graph([a, a])


# What may run at the same time.


@pytest.mark.parametrize(
    ("one", "other", "outcome"),
    [
        (make("A", r="step.xs"), make("B", r="step.xs"), True),
        (make("A", r="step.xs"), make("B", w="step.xs"), False),
        (make("A"), make("B", after=("A",)), False),
        (make("A", w="loop"), make("B", r="step.xs"), False),
        (make("A", w="step.xs", resolution=lambda self, other: NoConflict()), make("B", w="step.xs"), False),
    ],
)
def test_two_are_independent_if_they_are_not_ordered_and_neither_writes_what_the_other_uses(
    one, other, outcome
) -> None:
    ordering = Ordering([one, other])
    assert ordering.independent(one, other) is ordering.independent(other, one) is outcome


def test_a_callback_that_is_ordered_through_others_is_not_independent() -> None:
    a, b, c = make("A"), make("B", after=("A",), at="on_epoch_end"), make("C", after=("B",))
    assert not Ordering([a, b, c]).independent(a, c)


# Properties, over drawn callbacks.

PATHS = ["cbstate.a", "cbstate.b", "cbstate.a.deep", "cbstate.c"]
HOOKS = {"on_step_begin": StepBegin, "on_step_end": StepEnd, "on_epoch_begin": EpochBegin}


@st.composite
def drawn(draw, n: int) -> list[Callback]:
    """Callbacks with drawn declarations; they may fit together or not."""
    callbacks = []
    for i in range(n):
        access = draw(st.dictionaries(st.sampled_from(PATHS), st.sampled_from([Read, Write]), max_size=3))
        hooks = draw(st.lists(st.sampled_from([*HOOKS]), min_size=1, max_size=2, unique=True))
        after = draw(st.lists(st.sampled_from([f"C{j}" for j in range(n) if j != i]), max_size=1)) if n > 1 else []
        first = draw(st.sampled_from([None, RunFirst, RunFirst, NoConflict, NoConflict, Unresolvable]))
        callbacks.append(make(f"C{i}", at=" ".join(hooks), after=tuple(after), resolution=first and resolving(first)))
        type(callbacks[-1]).state_access = access
    return callbacks


def resolving(kind):
    return lambda self, other: kind(min(self, other, key=lambda c: c.name)) if kind is RunFirst else kind()


def outcome(callbacks: list[Callback]) -> tuple:
    """All there is to see of an order, or of the refusal."""
    try:
        learner = toy_learner(*callbacks)
    except CallbackConflictError as error:
        return str(error), tuple(problem.callbacks for problem in error.problems)
    plan = learner.plan()
    return str(plan), plan.mermaid(), plan.dot(), plan.svg(), plan._repr_html_(), plan.edges, plan.rows


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_nothing_depends_on_the_order_in_which_callbacks_are_given(data) -> None:
    callbacks = data.draw(drawn(data.draw(st.integers(2, 5))))
    expected = outcome(callbacks)
    assert outcome(data.draw(st.permutations(callbacks))) == expected
    assert outcome(callbacks[::-1]) == expected


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_the_order_keeps_every_edge_where_both_meet(data) -> None:
    callbacks = data.draw(drawn(data.draw(st.integers(2, 6))))
    try:
        ordering = Ordering([*callbacks, ZERO])
    except CallbackConflictError:
        reject()
    explicit = nx.DiGraph()
    explicit.add_edges_from((b, c) for c in callbacks for b in callbacks if b.name in c.run_after)
    for hook in HOOKS.values():
        run = ordering.order(hook, TrainingPhase)
        assert set(run) == {callback for callback in callbacks if hasattr(callback, hook.hook)}
        for before, after in itertools.combinations(run, 2):
            assert not ordering.graph.has_edge(after, before)
            assert not (explicit.has_node(before) and explicit.has_node(after) and nx.has_path(explicit, after, before))


# Size.


def test_a_thousand_callbacks() -> None:
    chain = [
        make(f"C{i:04}", at="on_step_end on_epoch_end", w=f"cbstate.e{i}", r=f"cbstate.e{i - 1}")
        for i in range(1, 1000)
    ]
    chain.insert(0, make("C0000", at="on_step_end on_epoch_end", w="cbstate.e0"))
    random.Random(0).shuffle(chain)
    ordering = Ordering(chain)
    assert ordering.graph.number_of_edges() == 999
    assert [callback.name for callback in ordering.order(StepEnd, TrainingPhase)] == [f"C{i:04}" for i in range(1000)]


def test_wrappers_are_ordered_as_handlers_are() -> None:
    assert order(Forward, make("Outer", at="forward"), make("A", at="forward", after=("Outer",))) == ["Outer", "A"]
