"""How a pair is ordered, without a graph around it."""

import pytest
from treadle import AccessError, Callback, NoConflict, NotDefined, Read, RunFirst, Unresolvable, Write
from treadle.errors import Problem
from treadle.ordering.rules.resolutions import by_data_flow, resolutions, resolve
from treadle.ordering.rules.run_after import Edge


class Resolves(Callback):
    """Gives the resolution that it was made with."""

    def __init__(self, name: str, resolution=None) -> None:
        self.name, self.resolution = name, resolution

    def resolve_conflict(self, other):
        return self.resolution


def silent(first, second):
    return []


def resolved(first, second, overlap, user=silent):
    return resolve(first, second, overlap, resolutions(first, second, silent, user))


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
    assert resolutions(a, b, silent, silent) == []


def test_resolutions_come_with_their_source_callbacks_first() -> None:
    a, b = Resolves("A", NoConflict()), Resolves("B", Unresolvable())
    asked = []

    def plugin(first, second):
        asked.append((first, second))
        return [("P", None), ("Q", NoConflict())]

    assert resolutions(a, b, plugin, silent) == [
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
    assert resolved(a, b, WRITE_WRITE) == [Edge(first, second, f"RunFirst({first.name}), from B.resolve_conflict")]


def test_no_conflict_makes_no_edge() -> None:
    assert resolved(Resolves("A", NoConflict()), Resolves("B"), WRITE_WRITE) == []


def test_without_a_shared_path_an_unresolvable_needs_no_path_in_its_words() -> None:
    problem = resolved(Resolves("A", Unresolvable()), Resolves("B"), [])
    assert problem.what == "A and B cannot be used together (from A.resolve_conflict)."


def test_without_a_shared_path_two_resolutions_differ_about_the_order() -> None:
    a, b = Resolves("A"), Resolves("B")
    a.resolution, b.resolution = RunFirst(a), RunFirst(b)
    problem = resolved(a, b, [])
    assert problem.what == (
        "A and B differ about their order: RunFirst(A) from A.resolve_conflict; RunFirst(B) from B.resolve_conflict."
    )


def test_a_resolution_about_another_callback_is_refused() -> None:
    with pytest.raises(
        AccessError,
        match=r"A\.resolve_conflict returned RunFirst\(<C>\) for A and B, and it is neither\.\nFix: return one",
    ):
        resolved(Resolves("A", RunFirst(Resolves("C"))), Resolves("B"), WRITE_READ)


def test_the_users_resolution_is_stronger_than_all_others() -> None:
    a, b = Resolves("A"), Resolves("B", NoConflict())
    a.resolution = RunFirst(a)

    def user(first, second):
        return [("the user", RunFirst(b))]

    assert resolved(a, b, WRITE_WRITE, user) == [Edge(b, a, "RunFirst(B), from the user")]


def test_but_not_than_those_by_which_they_must_not_be_used_together() -> None:
    problem = resolved(
        Resolves("A", Unresolvable("No.")), Resolves("B"), WRITE_WRITE, lambda one, other: [("user", NoConflict())]
    )
    assert problem.what == "A and B cannot be used together (from A.resolve_conflict): No."


def test_a_user_without_an_opinion_leaves_it_to_the_others() -> None:
    a, b = Resolves("A", NoConflict()), Resolves("B")
    assert resolved(a, b, WRITE_WRITE, lambda one, other: [("user", None), ("user", NotDefined())]) == []
