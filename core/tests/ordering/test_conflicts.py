"""How a pair is settled, without a graph around it."""

import pytest
from treadle import AccessError, Callback, NoConflict, NotDefined, Read, RunFirst, Unresolvable, Write
from treadle.errors import Problem
from treadle.ordering.conflicts import Edge, by_flow, opinions, settle


class Says(Callback):
    """Answers what it is told to."""

    def __init__(self, name: str, answer=None) -> None:
        self.name, self.answer = name, answer

    def resolve_conflict(self, other):
        return self.answer


def nobody(first, second):
    return []


WRITE_READ = [("cbstate.x", Write, "cbstate.x", Read)]
WRITE_WRITE = [("cbstate.x", Write, "cbstate.x.y", Write)]


def test_the_writer_goes_before_the_reader() -> None:
    a, b = Says("A"), Says("B")
    assert by_flow(a, b, WRITE_READ) == [Edge(a, b, "B reads `cbstate.x`, which A writes")]
    assert by_flow(a, b, [("step", Read, "step.xs", Write)]) == [Edge(b, a, "A reads `step`, and B writes `step.xs`")]


def test_each_before_the_other_is_both_edges() -> None:
    a, b = Says("A"), Says("B")
    overlap = [("cbstate.x", Write, "cbstate.x", Read), ("cbstate.y", Read, "cbstate.y", Write)]
    assert [(edge.before, edge.after) for edge in by_flow(a, b, overlap)] == [(a, b), (b, a)]


def test_two_writers_are_a_problem_whatever_else_they_share() -> None:
    problem = by_flow(Says("A"), Says("B"), WRITE_READ + WRITE_WRITE)
    assert isinstance(problem, Problem)
    assert problem.what == "A and B both write `cbstate.x` and `cbstate.x.y`, and nothing orders them."


def test_nobodys_opinion_leaves_it_to_the_data_flow() -> None:
    a, b = Says("A", NotDefined()), Says("B")
    assert opinions(a, b, nobody) == []
    assert settle(a, b, WRITE_READ, nobody) == by_flow(a, b, WRITE_READ)


def test_opinions_come_with_who_holds_them_callbacks_first() -> None:
    a, b = Says("A", NoConflict()), Says("B", Unresolvable())
    asked = []

    def plugin(first, second):
        asked.append((first, second))
        return [("P", None), ("Q", NoConflict())]

    assert opinions(a, b, plugin) == [
        ("A.resolve_conflict", NoConflict()),
        ("B.resolve_conflict", Unresolvable()),
        ("Q", NoConflict()),
        ("Q", NoConflict()),
    ]
    assert asked == [(a, b), (b, a)]


@pytest.mark.parametrize("winner", [0, 1])
def test_run_first_is_an_edge_whose_reason_says_who_decided(winner) -> None:
    a, b = Says("A"), Says("B")
    pair = [a, b]
    first, second = pair[winner], pair[1 - winner]
    b.answer = RunFirst(first)
    assert settle(a, b, WRITE_WRITE, nobody) == [
        Edge(first, second, f"RunFirst({first.name}), says B.resolve_conflict")
    ]


def test_no_conflict_is_no_edge() -> None:
    assert settle(Says("A", NoConflict()), Says("B"), WRITE_WRITE, nobody) == []


def test_without_a_shared_path_an_unresolvable_needs_no_path_in_its_words() -> None:
    problem = settle(Says("A", Unresolvable()), Says("B"), [], nobody)
    assert problem.what == "A and B cannot be used together, says A.resolve_conflict."


def test_without_a_shared_path_two_answers_differ_about_the_order() -> None:
    a, b = Says("A"), Says("B")
    a.answer, b.answer = RunFirst(a), RunFirst(b)
    problem = settle(a, b, [], nobody)
    assert problem.what == (
        "A and B settle their order differently: A.resolve_conflict answers RunFirst(A); "
        "B.resolve_conflict answers RunFirst(B)."
    )


def test_an_answer_about_somebody_else_is_refused() -> None:
    with pytest.raises(
        AccessError, match=r"A\.resolve_conflict answered RunFirst\(<C>\) for A and B; it has to be one of the two"
    ):
        settle(Says("A", RunFirst(Says("C"))), Says("B"), WRITE_READ, nobody)
