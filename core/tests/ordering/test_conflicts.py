"""Which callbacks use the same state, and how a pair of them is resolved."""

import pytest
from treadle import (
    AccessError,
    Callback,
    NoConflict,
    NotDefined,
    Read,
    RunFirst,
    TrainingPhase,
    Unresolvable,
    Write,
    callback_graph,
    hookimpl,
    toy_learner,
)
from treadle.errors import Problem
from treadle.operations import Epoch
from treadle.ordering.conflicts import by_data_flow, resolutions, resolve, shared_state
from treadle.ordering.run_after import Edge

# Who shares state: also those of which one looks at the others' own state.


class Watch(Callback):
    """Reads the callbacks, and is to be the outermost wrapper."""

    state_access = {"callbacks": Read}
    name = "Zenith"

    def resolve_conflict(self, other):
        return RunFirst(self)

    @hookimpl(wrapper=True)
    def epoch(self):
        return (yield)


class Timer(Callback):
    """Shares no state, and has some of its own, which changes after the epoch."""

    def __init__(self):
        self.epochs = 0

    @hookimpl(wrapper=True)
    def epoch(self):
        result = yield
        self.epochs += 1
        return result


def test_a_reader_of_callbacks_makes_a_pair_with_each_of_them() -> None:
    access = [{"step.loss": Read}, {"callbacks": Read}, {}]
    assert shared_state(access) == {(0, 1): [], (1, 2): []}


def test_a_pair_is_asked_for_its_order_even_if_no_path_overlaps() -> None:
    watch, timer = Watch(), Timer()
    learner = toy_learner(timer, watch)
    assert learner.ordering.order(Epoch, TrainingPhase) == (watch, timer)
    reason = callback_graph([timer, watch]).edges[watch, timer]["reason"]
    assert reason == "RunFirst(Zenith), from Zenith.resolve_conflict"


def test_without_a_resolution_reading_the_callbacks_orders_nothing() -> None:
    class Reader(Callback):
        state_access = {"callbacks": Read, "cbstate.seen": Write}

        def on_epoch_end(self): ...

    class Other(Callback):
        def on_epoch_end(self): ...

    assert list(callback_graph([Reader(), Other(), Reader.__base__()]).edges) == []


# How a pair is ordered, without a graph around it.


class Resolves(Callback):
    """Gives the resolution that it was made with."""

    def __init__(self, name: str, resolution=None) -> None:
        self.name, self.resolution = name, resolution

    def resolve_conflict(self, other):
        return self.resolution


def no_resolver(first, second):
    return []


WRITE_READ = [("cbstate.x", Write, "cbstate.x", Read)]
WRITE_WRITE = [("cbstate.x", Write, "cbstate.x.y", Write)]


def test_the_writer_goes_before_the_reader() -> None:
    a, b = Resolves("A"), Resolves("B")
    assert by_data_flow(a, b, WRITE_READ) == [Edge(a, b, "B reads `cbstate.x`, which A writes")]
    assert by_data_flow(a, b, [("step", Read, "step.xs", Write)]) == [
        Edge(b, a, "A reads `step`, and B writes `step.xs`")
    ]


def test_each_before_the_other_is_both_edges() -> None:
    a, b = Resolves("A"), Resolves("B")
    overlap = [("cbstate.x", Write, "cbstate.x", Read), ("cbstate.y", Read, "cbstate.y", Write)]
    assert [(edge.before, edge.after) for edge in by_data_flow(a, b, overlap)] == [(a, b), (b, a)]


def test_two_writers_are_a_problem_whatever_else_they_share() -> None:
    problem = by_data_flow(Resolves("A"), Resolves("B"), WRITE_READ + WRITE_WRITE)
    assert isinstance(problem, Problem)
    assert problem.what == "A and B both write `cbstate.x` and `cbstate.x.y`, and nothing orders them."


def test_without_a_resolution_the_data_flow_decides() -> None:
    a, b = Resolves("A", NotDefined()), Resolves("B")
    assert resolutions(a, b, no_resolver) == []
    assert resolve(a, b, WRITE_READ, no_resolver) == by_data_flow(a, b, WRITE_READ)


def test_resolutions_come_with_their_source_callbacks_first() -> None:
    a, b = Resolves("A", NoConflict()), Resolves("B", Unresolvable())
    asked = []

    def plugin(first, second):
        asked.append((first, second))
        return [("P", None), ("Q", NoConflict())]

    assert resolutions(a, b, plugin) == [
        ("A.resolve_conflict", NoConflict()),
        ("B.resolve_conflict", Unresolvable()),
        ("Q", NoConflict()),
        ("Q", NoConflict()),
    ]
    assert asked == [(a, b), (b, a)]


@pytest.mark.parametrize("winner", [0, 1])
def test_run_first_is_an_edge_whose_reason_names_the_source_of_the_decision(winner) -> None:
    a, b = Resolves("A"), Resolves("B")
    pair = [a, b]
    first, second = pair[winner], pair[1 - winner]
    b.resolution = RunFirst(first)
    assert resolve(a, b, WRITE_WRITE, no_resolver) == [
        Edge(first, second, f"RunFirst({first.name}), from B.resolve_conflict")
    ]


def test_no_conflict_makes_no_edge() -> None:
    assert resolve(Resolves("A", NoConflict()), Resolves("B"), WRITE_WRITE, no_resolver) == []


def test_without_a_shared_path_an_unresolvable_needs_no_path_in_its_words() -> None:
    problem = resolve(Resolves("A", Unresolvable()), Resolves("B"), [], no_resolver)
    assert problem.what == "A and B cannot be used together (from A.resolve_conflict)."


def test_without_a_shared_path_two_resolutions_differ_about_the_order() -> None:
    a, b = Resolves("A"), Resolves("B")
    a.resolution, b.resolution = RunFirst(a), RunFirst(b)
    problem = resolve(a, b, [], no_resolver)
    assert problem.what == (
        "A and B differ about their order: RunFirst(A) from A.resolve_conflict; RunFirst(B) from B.resolve_conflict."
    )


def test_a_resolution_about_another_callback_is_refused() -> None:
    with pytest.raises(
        AccessError,
        match=r"A\.resolve_conflict returned RunFirst\(<C>\) for A and B, and it is neither\.\nFix: return one",
    ):
        resolve(Resolves("A", RunFirst(Resolves("C"))), Resolves("B"), WRITE_READ, no_resolver)
