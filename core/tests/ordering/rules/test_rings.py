"""Wrappers: rings around all others at a hook, to which reads and writes give no order."""

import itertools

import pytest
from treadle import (
    Callback,
    CallbackConflictError,
    NoConflict,
    NotDefined,
    Read,
    RunFirst,
    TrainingPhase,
    ValidationPhase,
    Write,
    callback_graph,
    hookimpl,
    toy_learner,
)
from treadle.events import StepEnd
from treadle.operations import Forward
from treadle.ordering.graph import Ordering


def wrapping(phase: object = None):
    def wrap(self, phase):
        return (yield)

    if phase is not None:
        wrap.__annotations__["phase"] = phase
    return hookimpl(wrapper=True)(wrap)


def inside(self):
    return None


def make(name: str, *, resolution=None, after=(), access=None, **methods) -> Callback:
    """A callback with these methods, that wraps `forward` unless it has some."""
    body = {"state_access": access or {}, "run_after": after, **(methods or {"forward": wrapping()})}
    if resolution is not None:
        body["resolve_conflict"] = lambda self, other: resolution(self, other)
    return type(name, (Callback,), body)()


READ, WRITE = {"cbstate.x": Read}, {"cbstate.x": Write}
WRITER = make("Zero", access={"cbstate": Write}, on_init=inside)


def problems(*callbacks: Callback, **resolve) -> list[str]:
    with pytest.raises(CallbackConflictError) as refused:
        Ordering([*callbacks, WRITER], **resolve)
    return [str(problem) for problem in refused.value.problems]


def order(*callbacks: Callback, hook=Forward, answer=None) -> list[str]:
    return [callback.name for callback in Ordering(callbacks, answer=answer).order(hook, TrainingPhase)]


# Two wrappers.


def test_reads_and_writes_give_two_wrappers_no_order() -> None:
    assert problems(make("Reader", access=READ), make("Writer", access=WRITE)) == [
        "Reader and Writer both wrap `forward` and use `cbstate.x`, and nothing orders them: what wrappers do after "
        "their `yield` comes in reverse, so reads and writes do not.\n"
        "Fix: leave one of them out, or choose which runs first, where the learner is made:\n"
        '    Learner(..., resolve={("Reader", "Writer"): "first"})  # or "second", or "any" if any order is right\n'
        "Or, if you wrote Reader or Writer, decide there:\n"
        "    def resolve_conflict(self, other):\n"
        "        return RunFirst(self) if isinstance(other, Writer) else NotDefined()  # in Reader"
    ]


def test_wrappers_of_an_event_are_rings_as_well() -> None:
    (problem,) = problems(
        make("Reader", access=READ, on_step_end=wrapping()), make("Writer", access=WRITE, on_step_end=wrapping())
    )
    assert problem.startswith("Reader and Writer both wrap `on_step_end` and use `cbstate.x`, and nothing orders them")


def test_run_after_or_a_resolution_orders_them() -> None:
    reader, writer = make("Reader", access=READ), make("Writer", access=WRITE)
    assert order(make("Reader", access=READ, after=("Writer",)), writer) == ["Writer", "Reader"]
    assert order(reader, make("Writer", access=WRITE, after=("Reader",))) == ["Reader", "Writer"]
    first = make("Writer", access=WRITE, resolution=lambda self, other: RunFirst(self))
    assert order(reader, first) == ["Writer", "Reader"]
    any_order = make("Writer", access=WRITE, resolution=lambda self, other: NoConflict())
    assert order(reader, any_order) == ["Reader", "Writer"]
    assert order(reader, writer, answer={("Writer", "Reader"): "first"}) == ["Writer", "Reader"]


def test_without_shared_state_they_need_none() -> None:
    assert order(make("B", access=READ), make("A", access={"step.loss": Write}), WRITER) == ["A", "B"]


def test_two_that_wrap_one_operation_in_different_phases_do_not_meet() -> None:
    reader = make("Reader", access=READ, forward=wrapping(TrainingPhase), on_step_end=inside)
    writer = make("Writer", access=WRITE, forward=wrapping(ValidationPhase), on_step_end=inside)
    assert order(reader, writer, hook=StepEnd) == ["Writer", "Reader"]


# A wrapper and what is inside.


@pytest.mark.parametrize("names", list(itertools.permutations("AZ")))
@pytest.mark.parametrize("hook", [Forward, StepEnd])
def test_a_wrapper_is_outside_of_all_that_do_not_wrap_whatever_they_are_called(names, hook) -> None:
    outer, inner = make(names[0], **{hook.hook: wrapping()}), make(names[1], **{hook.hook: inside})
    assert order(inner, outer, hook=hook) == [names[0], names[1]]


def test_what_a_wrapper_writes_can_be_read_inside() -> None:
    assert order(make("A", access=READ, forward=inside), make("Z", access=WRITE)) == ["Z", "A"]


def test_a_wrapper_that_reads_what_is_written_inside_is_refused() -> None:
    assert problems(make("Outer", access=READ), make("Inner", access=WRITE, forward=inside)) == [
        "Outer reads `cbstate.x`, which Inner writes, inside of `forward`, which Outer wraps: a wrapper begins before "
        "all that is inside.\n"
        "Fix: leave one of them out, or, if that is right, confirm it where the learner is made:\n"
        '    Learner(..., resolve={("Outer", "Inner"): "first"})\n'
        "Or, if you wrote Inner, declare it there:\n"
        "    run_after = (Outer,)"
    ]


@pytest.mark.parametrize(
    "settled",
    [
        {"after": ("Outer",)},
        {"resolution": lambda self, other: RunFirst(other)},
        {"resolution": lambda self, other: NoConflict()},
    ],
)
def test_run_after_the_other_way_or_a_resolution_settles_it(settled) -> None:
    assert order(make("Outer", access=READ), make("Inner", access=WRITE, forward=inside, **settled)) == [
        "Outer",
        "Inner",
    ]


@pytest.mark.parametrize(
    ("outer", "inner", "reason"),
    [
        ({"after": ("Inner",)}, {}, "Outer.run_after names Inner"),
        ({"access": READ}, {"resolution": lambda self, other: RunFirst(self)}, "RunFirst(Inner), from Inner.resolve_"),
    ],
)
def test_nothing_puts_what_is_inside_before_the_wrapper(outer, inner, reason) -> None:
    (problem,) = problems(make("Outer", **outer), make("Inner", access=WRITE, forward=inside, **inner))
    assert problem.startswith(f"Inner cannot come before Outer, which wraps `forward` around it ({reason}")
    assert problem.endswith(
        "Fix: leave one of them out.\n"
        "Or, if you wrote Inner or Outer, take that order back, or let Inner wrap `forward` as well:\n"
        "    @hookimpl(wrapper=True)"
    )


def test_nor_does_run_after_through_others() -> None:
    (problem,) = problems(
        make("Outer", after=("Between",)),
        make("Between", after=("Inner",), on_init=inside),
        make("Inner", forward=inside),
    )
    assert "(Between.run_after names Inner, Outer.run_after names Between)" in problem


def test_the_same_two_are_ordered_by_their_reads_where_neither_wraps() -> None:
    reader = make("Reader", access=READ, forward=inside, on_step_end=inside)
    writer = make("Writer", access=WRITE, forward=wrapping(), on_step_end=inside)
    assert order(reader, writer, hook=StepEnd) == ["Writer", "Reader"]
    assert callback_graph([reader, writer]).edges[writer, reader]["events"] == (StepEnd, Forward)


def test_a_ring_that_comes_with_a_type_of_phase_is_checked_then() -> None:
    from treadle import Phase, run_step

    class One(Phase):
        """Of one kind."""

    class Two(Phase):
        """Of another."""

    reader = make("Reader", access=READ, on_step_end=wrapping(One))
    writer = make("Writer", access=WRITE, on_step_end=wrapping(Two))
    learner = toy_learner(reader, writer)

    class Both(One, Two):
        """In which they meet."""

    with (
        pytest.raises(CallbackConflictError, match="Reader and Writer both wrap `on_step_end`"),
        run_step(learner, Both()),
    ):
        pass


def test_the_plan_shows_the_rings() -> None:
    text = str(toy_learner(make("Z"), make("B"), make("A", forward=inside)).plan([TrainingPhase()]))
    assert "  forward  around: B > Z; inside: A\n" in text


def test_the_order_of_what_wraps_is_resolved_with_not_defined_by_the_reads_alone() -> None:
    undecided = make("Writer", access=WRITE, resolution=lambda self, other: NotDefined())
    (problem,) = problems(make("Reader", access=READ), undecided)
    assert problem.startswith("Reader and Writer both wrap `forward`")
