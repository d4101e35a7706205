"""A cancel is a request: who sees an event depends on nobody's name and on no runner."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import (
    Callback,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    EpochBegin,
    EpochEnd,
    Event,
    FitBegin,
    FitEnd,
    FitException,
    LinearRunner,
    LossBegin,
    StepBegin,
    StepEnd,
    ThreadedRunner,
    TrainingPhase,
    ValidationPhase,
    hookimpl,
    run_step,
    step,
    toy_learner,
)
from treadle.errors import CancelError
from treadle.events import Init

STEP, EPOCH, FIT = CancelStepException, CancelEpochException, CancelFittingException
WIDEST_FIRST = [FIT, EPOCH, STEP]


class ForGood(CancelFittingException):
    final = True


RUNNERS = {"linear": LinearRunner(), "threads": ThreadedRunner(3)}


def making(name: str, event: type[Event], do: Any, *, wrapper: str = "") -> Callback:
    """A callback that does something at an event; or around it, before or after its yield."""

    def handle(self):
        return do()

    @hookimpl(wrapper=True)
    def handle_around(self):
        if wrapper == "before":
            do()
        result = yield
        if wrapper == "after":
            do()
        return result

    return type(name, (Callback,), {event.hook: handle_around if wrapper else handle})()


def raising(error: BaseException):
    def do():
        raise error

    return do


@pytest.fixture(params=RUNNERS)
def runner(request):
    return RUNNERS[request.param]


# Drawn cancels, and what a loop in plain Python makes of them.

Drawn = tuple[type[Event], int, type[FitException], int, str]  # event, which dispatch of it, what, who, how
AT = {FitBegin: [FIT], EpochBegin: [EPOCH, FIT], EpochEnd: [EPOCH, FIT]} | dict.fromkeys(
    [StepBegin, LossBegin, StepEnd], WIDEST_FIRST
)
drawn_cancels = st.sampled_from([(event, kind) for event, kinds in AT.items() for kind in kinds]).flatmap(
    lambda at: st.tuples(
        st.just(at[0]),
        st.integers(1, 1 if at[0] is FitBegin else 6),
        st.just(at[1]),
        st.integers(0, 3),
        st.sampled_from(["", "", "before", "after"]),
    )
)


def expected(cancels: list[Drawn]) -> tuple[list[type[Event]], int, int, type[FitException] | None]:
    """The events of a fit of two epochs with two batches, epochs and steps that are done, and what ended it."""
    events: list[type[Event]] = []
    done = Counter[str]()

    def dispatch(event: type[Event]) -> None:
        events.append(event)
        requested = {kind for at, count, kind, *_ in cancels if at is event and count == events.count(event)}
        for kind in WIDEST_FIRST:
            if kind in requested:
                raise kind

    def run_step(training: bool) -> None:
        try:
            dispatch(StepBegin)
            dispatch(LossBegin)
            done["steps"] += training
            dispatch(StepEnd)
        except STEP:
            pass

    def run_epoch(training: bool) -> None:
        try:
            try:
                dispatch(EpochBegin)
                for _ in range(2):
                    run_step(training)
                done["epochs"] += training
            except EPOCH:
                pass
            dispatch(EpochEnd)
        except EPOCH:
            pass

    ended = None
    try:
        dispatch(FitBegin)
        for training in (True, False) * 2:
            run_epoch(training)
    except FIT:
        ended = FIT
    dispatch(FitEnd)
    return events, done["epochs"], done["steps"], ended


def that_are_raised(cancels: list[Drawn]) -> list[Drawn]:
    """Those that are: a handler raises the first that it has for an event, and a wrapper one before or after."""
    first: dict[Any, Drawn] = {}
    for cancel in sorted(cancels, key=lambda cancel: cancel[4] == "after"):
        event, count, _, i, how = cancel
        first.setdefault((event, count, i, bool(how)), cancel)
    return list(first.values())


class Drawing(Callback):
    """Notes every event, and raises the cancels that are drawn for it."""

    def __init__(self, name: str, cancels: list[Drawn]) -> None:
        self.name, self.cancels, self.seen = name, cancels, []
        self.counts = Counter[type[Event]]()

    def request(self, event: type[Event], how: str) -> None:
        for at, count, kind, _, drawn in self.cancels:
            if (at, count, drawn) == (event, self.counts[event], how):
                raise kind(f"by {self.name}")


def handler_of(event: type[Event]) -> Any:
    def handle(self):
        self.seen.append(event)
        self.counts[event] += 1
        self.request(event, "")

    return handle


def wrapper_of(event: type[Event]) -> Any:
    @hookimpl(wrapper=True)
    def handle(self):
        self.counts[event] += 1
        self.request(event, "before")
        result = yield
        self.seen.append(event)
        self.request(event, "after")
        return result

    return handle


NOTED = [FitBegin, EpochBegin, StepBegin, LossBegin, StepEnd, EpochEnd, FitEnd]
Handles = type("Handles", (Drawing,), {event.hook: handler_of(event) for event in NOTED})
Wraps = type("Wraps", (Drawing,), {event.hook: wrapper_of(event) for event in NOTED})


@settings(deadline=None, max_examples=60)
@given(
    # a handler raises once
    st.lists(drawn_cancels, max_size=6, unique_by=lambda drawn: (*drawn[:2], *drawn[3:])),
    st.permutations("ABCDEFGH"),
    st.sampled_from(sorted(RUNNERS)),
)
def test_who_sees_an_event_depends_neither_on_names_nor_on_the_runner(cancels, names, kind) -> None:
    cancels = that_are_raised(cancels)
    events, epochs, steps, ended = expected(cancels)
    handling = [Handles(names[i], [c for c in cancels if (c[3], c[4]) == (i, "")]) for i in range(4)]
    wrapping = [Wraps(names[4 + i], [c for c in cancels if c[3] == i and c[4]]) for i in range(4)]
    learner = toy_learner(*handling, *wrapping, runner=RUNNERS[kind], nbatches=2)
    result = learner.fit(2)
    for callback in handling:
        assert callback.seen == events
    for callback in wrapping:  # what follows the yield is cut off by a cancel of the same wrapper alone
        before = [c for c in callback.cancels if c[4] == "before"]
        assert len(callback.seen) >= len(events) - len(before)
        if not before:
            assert callback.seen == events
    assert (result.epochs, result.steps, type(result.cancelled)) == (epochs, steps, ended or type(None))


# One dispatch.


@pytest.mark.parametrize(
    ("kinds", "winner"),
    [
        ((STEP, EPOCH, FIT), 2),
        ((FIT, EPOCH, STEP), 0),
        ((STEP, EPOCH, STEP), 1),
        ((STEP, STEP, STEP), 0),
        ((EPOCH, STEP, EPOCH), 0),
        ((FIT, ForGood, EPOCH), 1),
        ((ForGood, FIT, ForGood), 0),
    ],
)
def test_the_widest_cancel_takes_effect_and_of_equally_wide_ones_the_first(runner, kinds, winner) -> None:
    cancels = [kind("enough") for kind in kinds]
    callbacks = [making(name, StepBegin, raising(cancel)) for name, cancel in zip("ABC", cancels, strict=True)]
    with pytest.raises(kinds[winner]) as raised, run_step(toy_learner(*callbacks, runner=runner), TrainingPhase()):
        pass
    assert raised.value is cancels[winner]
    assert [cancel.callback for cancel in cancels] == callbacks
    others = [i for i in range(3) if i != winner]
    others.sort(key=lambda i: [ForGood, *WIDEST_FIRST].index(kinds[i]))
    assert raised.value.__notes__ == [
        f"Raised by {'ABC'[winner]} in on_step_begin, TrainingPhase, epoch 0, step 1.",
        *(f"Beside it, {'ABC'[i]} raised {cancels[i]!r} in on_step_begin." for i in others),
    ]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(
    ("kind", "event", "unit"),
    [
        (STEP, FitBegin, "step"),
        (STEP, EpochBegin, "step"),
        (STEP, EpochEnd, "step"),
        (STEP, FitEnd, "step"),
        (EPOCH, FitBegin, "epoch"),
        (EPOCH, FitEnd, "epoch"),
    ],
)
def test_a_wider_cancel_does_not_hide_one_of_what_is_not_under_way(runner, kind, event, unit, order) -> None:
    doing = [raising(kind("because")), raising(FIT("enough"))]
    callbacks = [making(name, event, doing[i]) for name, i in zip("AB", order, strict=True)]
    with pytest.raises(CancelError, match=rf"^{kind.__name__} was raised where no {unit} was under way: because\.\n"):
        toy_learner(*callbacks, runner=runner).fit(1)


@pytest.mark.parametrize("kind", WIDEST_FIRST)
def test_a_cancel_in_on_init_is_an_error_that_says_where_to_raise_it(runner, kind) -> None:
    with pytest.raises(
        CancelError,
        match=rf"^{kind.__name__} was raised where no fit was under way: not today\.\n"
        r"Fix: raise it in a handler of on_fit_begin\.\nRaised by A in on_init\.$",
    ):
        toy_learner(making("A", Init, raising(kind("not today"))), Callback(), runner=runner)


@pytest.mark.parametrize("wrapper", ["", "before", "after"])
@pytest.mark.parametrize("position", range(3))
def test_an_error_goes_before_the_cancels_of_its_event(runner, position, wrapper) -> None:
    error = ValueError("broken")
    doing = [raising(STEP("skip")), raising(FIT("enough"))]
    doing.insert(position, raising(error))
    callbacks = [
        making(name, StepEnd, do, wrapper=wrapper if i == position else "")
        for i, (name, do) in enumerate(zip("ABC", doing, strict=True))
    ]
    with pytest.raises(ValueError, match="broken") as raised:
        toy_learner(*callbacks, runner=runner).fit(1)
    assert raised.value is error
    assert error.__notes__[0] == f"Raised by {'ABC'[position]} in on_step_end, TrainingPhase, epoch 1, step 1."


def test_after_an_error_the_handlers_that_are_ordered_after_it_do_not_run(runner) -> None:
    ran: list[str] = []
    stopping = making("A", StepEnd, raising(FIT("enough")))
    broken = making("B", StepEnd, raising(ValueError("broken")))
    after = making("C", StepEnd, lambda: ran.append("C"))
    type(broken).run_after, type(after).run_after = ("A",), ("B",)
    with pytest.raises(ValueError, match="broken") as raised:
        toy_learner(stopping, broken, after, runner=runner).fit(1)
    assert ran == []
    assert raised.value.__notes__ == [
        "Raised by B in on_step_end, TrainingPhase, epoch 1, step 1.",
        "Beside it, A raised CancelFittingException('enough') in on_step_end.",
    ]


def test_in_an_event_that_always_runs_all_an_error_goes_before_a_cancel_and_all_run(runner) -> None:
    ran: list[str] = []
    callbacks = [
        making("A", FitEnd, raising(FIT("enough"))),
        making("B", FitEnd, raising(ValueError("broken"))),
        making("C", FitEnd, lambda: ran.append("C")),
    ]
    with pytest.raises(ValueError, match="broken") as raised:
        toy_learner(*callbacks, runner=runner).fit(0)
    assert ran == ["C"]
    assert raised.value.__notes__[1:] == [
        "Beside it, A raised CancelFittingException('enough') in on_fit_end.",
    ]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("position", range(3))
def test_a_cancel_in_a_wrapper_of_an_event_cuts_off_no_other_wrapper(runner, position, when) -> None:
    log: list[str] = []

    def around(name: str) -> Callback:
        @hookimpl(wrapper=True)
        def on_step_end(self, phase: TrainingPhase):
            log.append(f"{name} in")
            result = yield
            log.append(f"{name} out")
            return result

        return type(name, (Callback,), {"on_step_end": on_step_end})()

    names = ["A", "B", "C"]
    others = [around(name) for i, name in enumerate(names) if i != position]
    cancels = making(names[position], StepEnd, raising(FIT("enough")), wrapper=when)
    handler = making("H", StepEnd, lambda: log.append("H"))
    result = toy_learner(*others, cancels, handler, runner=runner).fit(1)
    assert result.cancelled.callback is cancels
    first, second = (name for i, name in enumerate(names) if i != position)
    assert log == [f"{first} in", f"{second} in", "H", f"{second} out", f"{first} out"]


def test_a_wrapper_of_an_event_may_turn_an_error_into_a_cancel(runner) -> None:
    class Forgiving(Callback):
        @hookimpl(wrapper=True)
        def on_step_end(self):
            try:
                return (yield)
            except ValueError as error:
                raise CancelFittingException("a broken handler") from error

    result = toy_learner(Forgiving(), making("B", StepEnd, raising(ValueError("broken"))), runner=runner).fit(1)
    assert str(result.cancelled) == "a broken handler"


def test_in_an_operation_a_cancel_takes_effect_at_once(runner) -> None:
    ran: list[str] = []

    class Skips(Callback):
        def forward(self):
            raise CancelStepException("no forward pass")

    class Sees(Callback):
        run_after = (Skips,)

        def forward(self):
            ran.append("forward")

    step(toy_learner(Skips(), Sees(), runner=runner), ValidationPhase(), toy_learner().data.training[0])
    assert ran == []


def test_a_cancel_that_is_kept_is_freed_without_the_garbage_collector(runner) -> None:
    class Referable(CancelStepException): ...

    def cancels():
        raise Referable

    learner = toy_learner(
        making("A", StepEnd, cancels),
        making("B", StepEnd, cancels),
        making("C", StepEnd, cancels, wrapper="after"),
        runner=runner,
    )
    dispatch = learner.handle(TrainingPhase())[StepEnd]
    gc.collect()
    gc.disable()
    try:
        try:
            dispatch()
        except Referable as cancel:
            kept = weakref.ref(cancel)
        assert kept() is None
    finally:
        gc.enable()
