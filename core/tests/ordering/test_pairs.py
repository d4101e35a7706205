"""How two callbacks combine."""

import pytest
from treadle import (
    Callback,
    CallbackConflictError,
    NoConflict,
    NotDefined,
    Read,
    RunFirst,
    TrainingPhase,
    Unresolvable,
    ValidationPhase,
    Write,
)
from treadle.ordering.pairs import pair_of, writers_for


class Keeper(Callback):
    state_access = {"cbstate.kept": Write}

    def on_step_end(self): ...


class Announcer(Callback):
    state_access = {"cbstate.kept": Read}

    def on_step_end(self): ...
    def on_epoch_end(self): ...


class Second(Callback):
    state_access = {"cbstate.kept": Write}

    def __init__(self, resolution=NotDefined):
        self.resolution = resolution

    def on_step_end(self): ...

    def resolve_conflict(self, other):
        return self.resolution(self) if self.resolution is RunFirst else self.resolution()


def test_a_writer_comes_before_a_reader_whichever_is_passed_first() -> None:
    keeper, announcer = Keeper(), Announcer()
    pair = pair_of(announcer, keeper)
    assert pair == pair_of(keeper, announcer)
    assert (pair.first, pair.second, pair.verdict, pair.hooks, pair.fix) == (
        *(keeper, announcer, "ordered"),
        *(("on_step_end",), ""),
    )
    assert pair.reason == "Announcer reads `cbstate.kept`, which Keeper writes"


def test_one_that_a_resolution_names_runs_first() -> None:
    pair = pair_of(Keeper(), Second(RunFirst))
    assert (pair.first.name, pair.verdict, pair.reason) == (
        *("Second", "ordered"),
        "RunFirst(Second), from Second.resolve_conflict",
    )


def test_two_are_ordered_through_one_that_is_present() -> None:
    class First(Callback):
        def on_step_end(self): ...

    class Between(Callback):
        run_after = ("First",)

        def on_step_end(self): ...

    class Last(Between):
        run_after = ("Between",)

    first, last = First(), Last()
    assert pair_of(last, first).verdict == "compatible"
    pair = pair_of(last, first, [Between()])
    assert (pair.first, pair.verdict) == (first, "ordered")
    assert pair.reason == "Between.run_after names First; Last.run_after names Between"


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (Callback(), "they use no state in common"),
        (Second(NoConflict), "any order is right for `cbstate.kept`, from `resolve_conflict`"),
    ],
)
def test_two_that_may_run_in_any_order_are_compatible_for_a_reason(other, reason) -> None:
    pair = pair_of(Keeper(), other)
    assert (pair.verdict, pair.reason, pair.hooks) == ("compatible", reason, ())


def test_readers_of_one_entry_are_compatible() -> None:
    assert pair_of(Announcer(), Announcer(), [Keeper()]).reason == "neither writes what the other uses"


def test_two_that_never_meet_are_compatible() -> None:
    class InTraining(Callback):
        state_access = {"cbstate.kept": Write}

        def on_step_end(self, phase: TrainingPhase): ...

    class InValidation(InTraining):
        def on_step_end(self, phase: ValidationPhase): ...

    pair = pair_of(InTraining(), InValidation())
    assert pair.reason == "they never meet at an event, though both use `cbstate.kept`"


def test_one_that_says_unresolvable_is_refused_and_a_question_that_nobody_answers_is_unresolved() -> None:
    refused, open_question = pair_of(Keeper(), Second(Unresolvable)), pair_of(Keeper(), Second())
    assert (refused.verdict, open_question.verdict) == ("refused", "unresolved")
    assert refused.reason.startswith("Keeper and Second cannot be used together (from Second.resolve_conflict)")
    assert open_question.reason == "Keeper and Second both write `cbstate.kept`, and nothing orders them."
    assert refused.fix.startswith("leave Keeper or Second out")
    assert open_question.fix.startswith("leave one of them out, or choose which runs first")


def test_a_disagreement_is_unresolved_and_a_refusal_where_one_says_unresolvable() -> None:
    for other, verdict in ((Unresolvable, "refused"), (RunFirst, "unresolved")):
        pair = pair_of(Second(NoConflict), Second(other))
        assert (pair.verdict, "their resolutions differ" in pair.reason) == (verdict, True)


def test_a_problem_of_one_alone_is_an_error() -> None:
    with pytest.raises(CallbackConflictError, match=r"Announcer reads `cbstate\.kept`, and no callback writes it"):
        pair_of(Announcer(), Callback())


class Chained(Callback):
    state_access = {"cbstate.announced": Write, "cbstate.kept": Read}


class Needs(Callback):
    state_access = {"cbstate.announced": Read, "cbstate.nowhere": Read}


class Everything(Callback):
    state_access = {"cbstate.kept": Write, "cbstate.announced": Write, "cbstate.more": Write}


def test_writers_join_with_what_they_read_themselves_and_the_smallest_is_taken() -> None:
    candidates = [Everything(), Keeper(), Chained()]
    assert [type(writer) for writer in writers_for([Needs()], candidates)] == [Chained, Keeper]
    assert writers_for([Keeper()], candidates) == []
    assert writers_for([Needs()], []) == []
