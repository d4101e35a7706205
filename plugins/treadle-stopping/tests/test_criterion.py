import copy
import math
import pickle
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from treadle import ArgumentTypeError
from treadle_stopping import (
    GL,
    PQ,
    UP,
    Criterion,
    Disjunction,
    EarlyStopper,
    InvalidValue,
    Never,
    NumberLimit,
    NumberSinceBest,
    Patience,
    Threshold,
    TimeLimit,
    stopping_time,
)

ALL = [
    Never(),
    InvalidValue(),
    TimeLimit(1),
    NumberLimit(3),
    NumberSinceBest(2),
    Patience(2),
    Threshold(0.5),
    GL(10),
    PQ(1.0, 3),
    Patience(3) + InvalidValue() + PQ(1.0, 2),
]
losses = st.floats(min_value=0.0, max_value=10.0) | st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0])
updates = st.lists(st.tuples(losses, st.booleans()), max_size=30)
simple = st.sampled_from(ALL[:-1])


def time_of(criterion, fed):
    stopper, time = EarlyStopper(criterion, strict=False), 0
    for loss, training in fed:
        time += not training
        if stopper.done(loss, training) and not training:
            return time
    return 0


@dataclass(frozen=True)
class Falls(Criterion):
    """Stop once the loss falls `n` times in all."""

    n: int = 1

    def update(self, state, loss):
        return {"loss": loss, "falls": 0 if state is None else state["falls"] + (loss < state["loss"])}

    def done(self, state):
        return state["falls"] >= self.n


def test_criteria_are_equal_if_type_and_fields_are():
    assert Patience(3) == Patience(3) != Patience(4)
    assert NumberLimit(3) != NumberSinceBest(3)
    assert Patience() == UP(5)
    assert GL(2) == GL(2.0) == GL()
    assert len({Patience(3), Patience(3), NumberLimit(3)}) == 2


def test_never_never_stops():
    assert stopping_time(Never(), [math.nan, 1.0, 100.0]) == 0


def test_never_is_neutral():
    assert Never() + Patience(3) == Patience(3) + Never() == Patience(3)
    assert Never() + Never() == Never()


def test_a_sum_takes_equal_criteria_once_and_leaves_out_never():
    both = Patience(1) + InvalidValue() + Never() + TimeLimit(100) + Patience(1)
    assert both.criteria == (Patience(1), InvalidValue(), TimeLimit(100))
    assert both == Disjunction(Patience(1), Disjunction(InvalidValue(), TimeLimit(100)))
    assert repr(Patience(1) + InvalidValue()) == "Disjunction(Patience(n=1), InvalidValue())"


def test_a_disjunction_of_one_criterion_is_that_criterion_and_an_empty_one_is_never():
    assert Disjunction(Patience(2), Never(), Patience(2)) == Patience(2)
    assert Disjunction() == Disjunction(Never()) == Never()
    assert sum([Patience(2), InvalidValue()]) == Patience(2) + InvalidValue()


def test_a_disjunction_stops_at_its_first_part():
    either = Patience(3) + InvalidValue()
    assert stopping_time(either, [12.0, 10.0, 11.0, 12.0, 13.0, math.nan]) == 5
    assert stopping_time(either, [math.nan, 12.0, 10.0, 11.0, 12.0, 13.0]) == 1


def test_a_disjunction_works_when_a_training_loss_comes_first():
    every = Patience(1) + NumberSinceBest(1) + NumberLimit(9) + Threshold(0) + GL(50) + PQ() + InvalidValue()
    stopper = EarlyStopper(every)
    assert not stopper.done(3.0, training=True)
    assert not stopper.done(3.0)
    assert stopper.done(4.0)
    assert stopper.fired == Patience(1) + NumberSinceBest(1)


def test_the_message_of_a_disjunction_joins_those_of_the_parts_that_stop():
    stopper = EarlyStopper(Patience(1), Threshold(-1), NumberLimit(2))
    assert not stopper.done(1.0)
    assert stopper.message == ""
    assert stopper.done(2.0)
    assert stopper.message == (
        "Stopped early by Patience(n=1): the loss has risen once, to 2. "
        "Stopped early by NumberLimit(n=2): 2 losses have been seen."
    )


@given(st.lists(simple, min_size=2, max_size=5), updates)
def test_a_disjunction_stops_at_the_least_of_its_parts_times(parts, fed):
    times = [time for time in (time_of(part, fed) for part in parts) if time]
    assert time_of(Disjunction(*parts), fed) == min(times, default=0)


@given(st.sampled_from(ALL), updates)
def test_no_criterion_raises_for_any_losses(criterion, fed):
    assert 0 <= time_of(criterion, fed) <= sum(not training for _, training in fed)


@given(st.sampled_from([criterion for criterion in ALL if not criterion.uses_training]), updates)
def test_criteria_that_do_not_use_training_losses_are_blind_to_them(criterion, fed):
    assert time_of(criterion, fed) == time_of(criterion, [(loss, False) for loss, training in fed if not training])


def test_the_criteria_that_use_training_losses():
    assert [type(criterion).__name__ for criterion in ALL if criterion.uses_training] == [
        "InvalidValue",
        "PQ",
        "Disjunction",
    ]


@pytest.mark.parametrize("criterion", ALL, ids=lambda criterion: criterion.kind)
def test_criteria_survive_copy_and_pickle(criterion):
    assert copy.deepcopy(criterion) == pickle.loads(pickle.dumps(criterion)) == criterion
    assert hash(copy.deepcopy(criterion)) == hash(criterion)


def test_a_custom_criterion_is_a_subclass():
    assert stopping_time(Falls(2), [3.0, 2.0, 5.0, 4.0]) == 4
    assert (Falls(2) + Patience(1)).criteria == (Falls(2), Patience(1))
    stopper = EarlyStopper(Falls())
    assert [stopper.done(loss) for loss in (2.0, 1.0)] == [False, True]
    assert stopper.message == "Stopped early by Falls(n=1): the losses meet it."


def test_a_custom_criterion_is_not_asked_before_it_has_a_state():
    assert not EarlyStopper(Falls(), Never()).done(1.0, training=True)


def test_a_criterion_that_overrides_nothing_never_stops():
    assert stopping_time(Criterion(), [1.0, math.nan]) == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, r"must be an instance of Criterion, got 3.\nFix: write, for example:\n    Patience\(3\)$"),
        (Patience, r"must be an instance of Criterion, got the class .*\nFix: make an instance:\n    Patience\(\)$"),
        ("patience", r"must be an instance of Criterion, got 'patience'.\nFix: .*\n    Patience\(3\)$"),
    ],
)
def test_what_is_not_a_criterion_is_refused(value, message):
    with pytest.raises(ArgumentTypeError, match=f"^A stopping criterion {message}"):
        Disjunction(value)


def test_a_criterion_and_a_number_have_no_sum():
    with pytest.raises(TypeError, match="unsupported operand"):
        Patience(3) + 5
    with pytest.raises(TypeError, match="unsupported operand"):
        5 + Patience(3)
