"""Callbacks that run only now and then."""

import copy
import functools
import inspect
import math

import numpy as np
import pytest
from treadle import (
    ArgumentTypeError,
    ArgumentValueError,
    Callback,
    CallbackCondition,
    CallbackConflictError,
    CallbackError,
    CancelFittingException,
    ConditionalCallback,
    CustomCallback,
    EpochEnd,
    FrequencyThrottle,
    NoConflict,
    NotDefined,
    ProtectedException,
    Read,
    RunFirst,
    StepBegin,
    StepEnd,
    TimeThrottle,
    TrainingPhase,
    Unresolvable,
    ValidationPhase,
    Write,
    accesses,
    callback_graph,
    hookimpl,
    throttle,
    toy_learner,
)
from treadle.authoring import Processes
from treadle.events import Init

# Conditions.

PHASE = TrainingPhase()


def passes(condition: CallbackCondition, n: int) -> list[int]:
    """The numbers, from 1, of the dispatches that go through."""
    return [i for i in range(1, n + 1) if condition.should_run(StepEnd, PHASE)]


@pytest.mark.parametrize(
    ("freq", "through"), [(1, [1, 2, 3, 4, 5, 6]), (2, [1, 3, 5]), (3, [1, 4]), (5, [1, 6]), (6, [1]), (100, [1])]
)
def test_a_frequency_lets_through_the_first_and_every_freq_th_after_it(freq, through) -> None:
    assert passes(FrequencyThrottle(freq, StepEnd), 6) == through


def test_other_events_pass_and_do_not_count() -> None:
    condition = FrequencyThrottle(2, StepEnd)
    assert condition.should_run(StepEnd, PHASE)
    assert all(condition.should_run(event, PHASE) for event in (StepBegin, EpochEnd, StepBegin))
    assert not condition.should_run(StepEnd, PHASE)


def test_the_count_is_its_state() -> None:
    condition = FrequencyThrottle(3, StepEnd)
    passes(condition, 2)
    other = FrequencyThrottle(3, StepEnd)
    other.load_state_dict(condition.state_dict())
    assert (condition.state_dict(), passes(other, 3)) == ({"count": 2}, [2])


class Clock:
    def __init__(self, *times: float) -> None:
        self.times = list(times)

    def __call__(self) -> float:
        return self.times.pop(0)


def test_a_time_lets_through_the_first_and_then_one_after_more_than_that_time() -> None:
    condition = TimeThrottle(5, StepEnd, clock=Clock(0, 4, 5, 5.1, 10, 10.2))
    assert passes(condition, 6) == [1, 4, 6]


def test_the_time_runs_from_the_last_one_that_went_through() -> None:
    condition = TimeThrottle(0, StepEnd, clock=Clock(1, 1, 2))
    assert passes(condition, 3) == [1, 3]


def test_other_events_pass_a_time_without_a_look_at_the_clock() -> None:
    condition = TimeThrottle(5, StepEnd, clock=Clock())
    assert condition.should_run(StepBegin, PHASE)


def test_the_clock_never_goes_backwards() -> None:
    condition = TimeThrottle(1e9, StepEnd)
    assert passes(condition, 3) == [1]


def test_a_time_has_no_state_for_a_checkpoint() -> None:
    assert TimeThrottle(5, StepEnd).state_dict() == {}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: FrequencyThrottle(2.0, StepEnd),
            ArgumentTypeError,
            r"freq must be a whole number of at least 1, got 2\.0\.\nFix: .*\n    throttle\(",
        ),
        (
            lambda: FrequencyThrottle(True, StepEnd),
            ArgumentTypeError,
            r"freq must be a whole number of at least 1, got True",
        ),
        (
            lambda: FrequencyThrottle("2", StepEnd),
            ArgumentTypeError,
            r"freq must be a whole number of at least 1, got '2'",
        ),
        (
            lambda: FrequencyThrottle(0, StepEnd),
            ArgumentValueError,
            r"freq must be a whole number of at least 1, got 0",
        ),
        (
            lambda: FrequencyThrottle(-3, StepEnd),
            ArgumentValueError,
            r"freq must be a whole number of at least 1, got -3",
        ),
        (
            lambda: TimeThrottle("5", StepEnd),
            ArgumentTypeError,
            r"seconds must be a number of at least 0, got '5'\.\nFix: .*\n.*seconds=5",
        ),
        (lambda: TimeThrottle(True, StepEnd), ArgumentTypeError, r"seconds must be a number of at least 0, got True"),
        (lambda: TimeThrottle(-1, StepEnd), ArgumentValueError, r"seconds must be a number of at least 0, got -1"),
        (
            lambda: TimeThrottle(math.nan, StepEnd),
            ArgumentValueError,
            r"seconds must be a number of at least 0, got nan",
        ),
        (
            lambda: FrequencyThrottle(2, "on_step_end"),
            ArgumentTypeError,
            r"event must be Event or a subclass of it, got 'on_step_end'",
        ),
        (
            lambda: TimeThrottle(2, StepEnd()),
            ArgumentTypeError,
            r"event must be Event or a subclass of it, got <.*StepEnd.*\nFix: .*\n    throttle\(",
        ),
    ],
)
def test_wrong_arguments_of_a_condition_are_refused(make, error, message) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_condition_without_should_run_is_reported_with_its_fix() -> None:
    class Never(CallbackCondition):
        """Forgets to define when."""

    with pytest.raises(
        NotImplementedError,
        match=r"Never has no method `should_run`\.\nFix: define when to run:\n    def should_run\(self",
    ):
        Never().should_run(StepEnd, PHASE)


def test_a_condition_has_no_state_by_default() -> None:
    condition = CallbackCondition()
    assert (condition.state_dict(), condition.load_state_dict({})) == ({}, None)


def test_freq_may_come_from_numpy() -> None:
    assert FrequencyThrottle(np.int64(2), StepEnd).freq == 2


# Another callback, inside of a condition.


class Log(Callback):
    """Notes what it handles."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def on_init(self):
        self.log.append("init")

    def on_step_begin(self, phase: TrainingPhase):
        self.log.append("begin")

    def on_step_end(self, phase: TrainingPhase):
        self.log.append("end")


def test_a_throttled_event_goes_through_every_so_often_and_the_others_always() -> None:
    log = Log()
    toy_learner(throttle(log, StepEnd, freq=2), nbatches=4).fit(1)
    assert log.log == ["init", "begin", "end", "begin", "begin", "end", "begin"]


@pytest.mark.parametrize(("freq", "times"), [(1, 16), (2, 8), (3, 6), (5, 4), (16, 1), (17, 1)])
def test_of_16_steps(freq, times) -> None:
    log = Log()
    toy_learner(throttle(log, StepEnd, freq=freq)).fit(1)
    assert log.log.count("end") == times


def test_only_dispatches_that_reach_the_callback_are_counted() -> None:
    class Both(Callback):
        def __init__(self) -> None:
            self.log = []

        def on_step_end(self, phase):
            self.log.append(type(phase).__name__[0])

    log, both = Log(), Both()
    toy_learner(throttle(log, StepEnd, freq=3), throttle(both, StepEnd, freq=3), nbatches=2).fit(2)
    assert log.log.count("end") == 2
    assert "".join(both.log) == "TVV"


def test_the_count_goes_on_over_epochs_and_fits() -> None:
    log = Log()
    learner = toy_learner(throttle(log, StepEnd, freq=3), nbatches=2)
    learner.fit(2)
    learner.fit(1)
    assert log.log.count("end") == 2


def test_seconds() -> None:
    log = Log()
    toy_learner(throttle(log, StepEnd, seconds=1e9)).fit(2)
    assert log.log.count("end") == 1
    every = Log()
    condition = TimeThrottle(2, StepEnd, clock=iter(range(100)).__next__)
    toy_learner(ConditionalCallback(every, condition), nbatches=7).fit(1)
    assert every.log.count("end") == 3


def test_a_condition_gets_the_events_class_and_the_phase() -> None:
    asked = []

    class Ask(CallbackCondition):
        def should_run(self, event, phase):
            asked.append((event, phase))
            return False

    class Everything(Callback):
        def on_fit_begin(self): ...

        def on_epoch_end(self): ...

    phase = ValidationPhase()
    toy_learner(ConditionalCallback(Everything(), Ask())).fit(1)
    assert [event.__name__ for event, _ in asked] == ["FitBegin", "EpochEnd", "EpochEnd"]
    assert [where for _, where in asked] == [None, TrainingPhase(), phase]


# Every facet is forwarded.

FACETS = {
    "name": "another",
    "state_access": {"step.loss": Read},
    "run_after": ("recorder",),
    "guard": True,
    "guard_fix": "count its steps",
    "essential": True,
    "access_fix": "say what it writes",
    "skips_updates": True,
    "every_backward": True,
    "optional_state": True,
    "main_process_only": True,
    "hyperparameters": [object()],
    "move_data": print,
    "weights_in_validation": {},
    "processes": Processes(),
}


def test_every_public_attribute_of_a_callback_is_forwarded() -> None:
    public = {name for name in vars(Callback) if not name.startswith("_")}
    public -= {"wrapped", "adapter"}  # whose are those of the callback inside of all
    public -= {"example"}  # which is of the class
    assert public <= set(vars(ConditionalCallback))
    assert {name for name in public if not inspect.isfunction(vars(Callback)[name])} == set(FACETS)


@pytest.mark.parametrize("facet", FACETS)
def test_a_facet_is_read_from_the_inner_callback_and_set_there(facet) -> None:
    throttled = throttle(type("Inner", (Callback,), {facet: FACETS[facet]})(), StepEnd, freq=2)
    assert getattr(throttled, facet) == FACETS[facet]
    throttled = throttle(Callback(), StepEnd, freq=2)
    setattr(throttled, facet, FACETS[facet])
    assert getattr(throttled.callback, facet) is getattr(throttled, facet) is FACETS[facet]


class Writer(Callback):
    state_access = {"cbstate.x": Write}

    def __init__(self, log=None) -> None:
        self.log = log if log is not None else []
        self.count = 0

    def on_step_end(self, learner, phase: TrainingPhase):
        self.count += 1
        learner.cbstate.x = self.count
        self.log.append(self.name)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Reader(Callback):
    state_access = {"cbstate.x": Read}

    def __init__(self, log=None) -> None:
        self.log = log if log is not None else []

    def on_step_end(self, learner, phase: TrainingPhase):
        self.log.append((self.name, learner.cbstate.x))


def test_state_access_holds_and_is_enforced() -> None:
    throttled = throttle(Reader(), StepEnd, freq=1)
    assert accesses(throttled, Read) == {"cbstate.x"}
    log = []
    toy_learner(throttle(Reader(log), StepEnd, freq=1), Writer(), nbatches=2).fit(1)
    assert log == [("Reader", 1), ("Reader", 2)]

    class Sneaky(Callback):
        def on_step_end(self, learner):
            return learner.model

    with pytest.raises(ProtectedException, match=r"Sneaky reads `model`.*\nFix: add to Sneaky\.state_access"):
        toy_learner(throttle(Sneaky(), StepEnd, freq=1)).fit(1)


@pytest.mark.parametrize("wrap", [[0], [1], [0, 1]])
def test_the_order_by_what_is_read_and_written_stays(wrap) -> None:
    log: list = []
    callbacks = [Reader(log), Writer(log)]
    for i in wrap:
        callbacks[i] = throttle(callbacks[i], StepEnd, freq=1)
    toy_learner(*callbacks, nbatches=1).fit(1)
    assert log == ["Writer", ("Reader", 1)]


class Late(Callback):
    """Runs after `Early`, which it names in one way or another."""

    def on_step_end(self): ...


class Early(Callback):
    def on_step_end(self): ...


@pytest.mark.parametrize("named", [(Early,), ("Early",), ("early",), (Callback,)])
@pytest.mark.parametrize("wrap", [[], [0], [1], [0, 1]])
def test_run_after_holds_for_both_sides(named, wrap) -> None:
    late, early = Late(), Early()
    late.name = "A late one"
    late.run_after = named
    callbacks = [late, early]
    for i in wrap:
        callbacks[i] = throttle(callbacks[i], StepEnd, freq=2)
    assert list(callback_graph(callbacks).edges) == [(callbacks[1], callbacks[0])]


class Resolves(Writer):
    """Resolves a conflict with any other."""

    def __init__(self, resolution) -> None:
        super().__init__()
        self.resolution = resolution

    def resolve_conflict(self, other):
        return self.resolution(self, other)


@pytest.mark.parametrize("wrap", [[], [0], [1], [0, 1]])
@pytest.mark.parametrize(
    ("resolution", "edges"),
    [
        (lambda self, other: RunFirst(self), [(0, 1)]),
        (lambda self, other: RunFirst(other), [(1, 0)]),
        (lambda self, other: NoConflict(), []),
    ],
)
def test_resolve_conflict_holds_for_both_sides(wrap, resolution, edges) -> None:
    callbacks = [Resolves(resolution), Writer()]
    for i in wrap:
        callbacks[i] = throttle(callbacks[i], StepEnd, freq=2)
    found = callback_graph(callbacks).edges
    assert list(found) == [(callbacks[i], callbacks[j]) for i, j in edges]


@pytest.mark.parametrize("wrap", [[0], [1], [0, 1]])
def test_what_cannot_be_resolved_stays_so(wrap) -> None:
    callbacks = [Resolves(lambda self, other: Unresolvable("They are alike.")), Writer()]
    for i in wrap:
        callbacks[i] = throttle(callbacks[i], StepEnd, freq=2)
    with pytest.raises(CallbackConflictError, match=r"Resolves and Writer cannot be used together.*They are alike\."):
        toy_learner(*callbacks)


def test_the_resolution_itself_names_the_one_in_use() -> None:
    inner, other = Resolves(lambda self, other: RunFirst(self)), Writer()
    throttled = throttle(inner, StepEnd, freq=2)
    assert throttled.resolve_conflict(other) == RunFirst(throttled)
    inner.resolution = lambda self, other: RunFirst(other)
    assert throttled.resolve_conflict(other) == RunFirst(other)
    assert throttle(Writer(), StepEnd, freq=2).resolve_conflict(other) == NotDefined()


def test_handlers_keep_their_phases() -> None:
    log = []

    class Quoted(Callback):
        def on_step_end(self, phase: "TrainingPhase | ValidationPhase"):
            log.append(phase)

        def on_epoch_end(self, phase: "ValidationPhase"):
            log.append("epoch")

    toy_learner(throttle(Quoted(), StepEnd, freq=1), nbatches=1).fit(1)
    assert log == [TrainingPhase(), ValidationPhase(), "epoch"]


def test_wrappers_stay_wrappers() -> None:
    log = []

    class Wraps(Callback):
        @hookimpl(wrapper=True)
        def on_step_end(self, learner, phase: TrainingPhase):
            log.append("in")
            result = yield
            log.append("out")
            return result

        @hookimpl(wrapper=True)
        def on_fit_begin(self):
            log.append("fit in")
            yield
            log.append("fit out")

        @hookimpl(wrapper=True)
        def forward(self, phase: TrainingPhase):
            log.append("forward")
            return (yield)

    inside = CustomCallback(lambda learner: log.append("step"), StepEnd, TrainingPhase)
    toy_learner(throttle(Wraps(), StepEnd, freq=2), inside, nbatches=2).fit(1)
    assert log == ["fit in", "fit out", "forward", "in", "step", "out", "forward", "step"]


def test_on_init_always_passes_and_an_operation_runs_without_the_callback_where_the_condition_says_no() -> None:
    class Never(CallbackCondition):
        def should_run(self, event, phase):
            return False

    log = []

    class Mine(Callback):
        state_access = {"cbstate.ready": Write}

        def on_init(self, learner):
            learner.cbstate.ready = True

        def update(self):
            log.append("update")

        def on_step_end(self):
            log.append("never")

    learner = toy_learner(ConditionalCallback(Mine(), Never()), nbatches=2)
    learner.fit(1)
    assert (learner.cbstate.ready, log) == (True, [])


def test_the_name_is_the_inner_ones_and_can_be_set() -> None:
    inner = Log()
    inner.name = "first"
    throttled = throttle(inner, StepEnd, freq=2)
    assert throttled.name == "first"
    throttled.name = "second"
    assert (inner.name, throttled.name) == ("second", "second")
    assert repr(throttled) == "<second if FrequencyThrottle(2, StepEnd)>"


def test_state_is_the_inner_ones_and_the_conditions() -> None:
    throttled = throttle(Writer(), StepEnd, freq=2)
    toy_learner(throttled, nbatches=3).fit(1)
    state = throttled.state_dict()
    assert state == {"callback": {"count": 2}, "condition": {"count": 3}}
    other = throttle(Writer(), StepEnd, freq=2)
    other.load_state_dict(state)
    assert other.state_dict() == state


def test_a_throttle_can_be_throttled() -> None:
    log = Log()
    twice = throttle(throttle(log, StepEnd, freq=2), StepBegin, freq=4)
    toy_learner(twice).fit(1)
    assert (log.log.count("end"), log.log.count("begin")) == (8, 4)
    assert (twice.name, twice.callback.callback is log) == ("Log", True)


def test_a_decorated_handler_gets_what_it_asks_for() -> None:
    log = []

    def decorated(method):
        @functools.wraps(method)
        def inner(*args, **kwargs):
            return method(*args, **kwargs)

        return inner

    class Mine(Callback):
        @decorated
        def on_epoch_end(self, phase, learner):
            log.append((type(phase).__name__, repr(learner)))

    toy_learner(throttle(Mine(), EpochEnd, freq=1), nbatches=1).fit(1)
    assert log == [
        ("TrainingPhase", "<learner as Mine sees it>"),
        ("ValidationPhase", "<learner as Mine sees it>"),
    ]


def test_a_cancel_names_the_callback_in_use() -> None:
    class Stops(Callback):
        def on_step_end(self):
            raise CancelFittingException("enough")

    throttled = throttle(Stops(), StepEnd, freq=1)
    result = toy_learner(throttled).fit(1)
    assert result.cancelled.callback is throttled
    assert result.cancelled.__notes__ == ["Raised by Stops in on_step_end, TrainingPhase, epoch 1, step 1."]


# Wrong arguments.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {},
            ArgumentTypeError,
            r"throttle needs freq or seconds, and not both\.\nFix: .*\n    throttle\(callback, StepEnd, freq=10\)",
        ),
        ({"freq": 1, "seconds": 1}, ArgumentTypeError, r"throttle needs freq or seconds, and not both"),
        ({"freq": 0}, ArgumentValueError, r"freq must be a whole number of at least 1, got 0"),
        ({"seconds": -1}, ArgumentValueError, r"seconds must be a number of at least 0"),
        ({"freq": "2"}, ArgumentTypeError, r"freq must be a whole number"),
    ],
)
def test_throttle_takes_one_of_two_numbers(arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        throttle(Log(), StepEnd, **arguments)


@pytest.mark.parametrize("event", ["on_step_end", StepEnd(), None, TrainingPhase])
def test_throttle_takes_the_class_of_an_event(event) -> None:
    with pytest.raises(
        ArgumentTypeError,
        match=r"event must be Event or a subclass of it, got .*\n.*\n    throttle\(callback, StepEnd, fr",
    ):
        throttle(Log(), event, freq=2)


@pytest.mark.parametrize("callback", [Log, "Log", None])
def test_only_a_callback_can_be_throttled(callback) -> None:
    with pytest.raises(
        CallbackError,
        match=r" is not a Callback, and nothing else can be throttled\.\nFix: .*\n    throttle\(Printer\(\)",
    ):
        throttle(callback, StepEnd, freq=2)


@pytest.mark.parametrize("condition", [FrequencyThrottle, print, None])
def test_a_condition_is_an_instance(condition) -> None:
    with pytest.raises(
        ArgumentTypeError,
        match=r"condition must be an instance of CallbackCondition, got .*\n.*\n    FrequencyThrottle\(",
    ):
        ConditionalCallback(Log(), condition)


def test_a_copy_guards_a_copy() -> None:
    throttled = throttle(Log(), StepEnd, freq=2)
    copied = copy.deepcopy(throttled)
    toy_learner(copied, nbatches=4).fit(1)
    assert throttled.callback.log == []
    assert copied.callback.log.count("end") == 2
    assert (throttled.condition.count, copied.condition.count) == (0, 4)


class Handles(Callback):
    def on_epoch_end(self): ...

    def on_fit_end(self): ...

    def on_init(self, learner): ...

    @hookimpl(wrapper=True)
    def forward(self):
        return (yield)


@pytest.mark.parametrize("settings", [{"freq": 2}, {"seconds": 2}])
@pytest.mark.parametrize(("event", "why"), [(StepEnd, "has no `on_step_end`"), (Init, "`on_init` always passes")])
def test_a_throttle_on_an_event_that_the_callback_does_not_handle_is_refused(settings, event, why) -> None:
    with pytest.raises(CallbackError) as refused:
        throttle(throttle(Handles(), EpochEnd, freq=2), event, **settings)
    assert str(refused.value) == (
        f"Handles is to be throttled at {event.__name__}, and {why}.\n"
        f"Fix: name an event that it handles: on_epoch_end, on_fit_end."
    )


class Wraps(Callback):
    @hookimpl(wrapper=True)
    def forward(self):
        return (yield)


class Overrides(Callback):
    def accumulate(self):
        return False


@pytest.mark.parametrize(("kind", "name"), [(Wraps, "forward"), (Overrides, "accumulate")])
def test_one_that_handles_operations_alone_is_refused_with_a_condition_as_the_fix(kind, name) -> None:
    with pytest.raises(CallbackError) as refused:
        throttle(kind(), StepEnd, freq=2)
    message = (
        f"{kind.__name__} is to be throttled at StepEnd, and handles no event, but `{name}`.\n"
        f"Fix: write a condition, which is asked for operations as well:\n"
        f"    class Rarely(CallbackCondition):\n"
        f"        def should_run(self, event, phase): return ...\n"
        f"    ConditionalCallback({kind.__name__}(...), Rarely())"
    )
    assert str(refused.value) == message


def test_one_that_has_on_init_alone_is_refused() -> None:
    class Begins(Callback):
        def on_init(self, learner): ...

    with pytest.raises(
        CallbackError, match=r"and has no `on_step_end`\.\nFix: let it handle one, or leave `throttle` out"
    ):
        throttle(Begins(), StepEnd, freq=2)


def test_a_handler_that_was_assigned_can_be_throttled() -> None:
    assert throttle(CustomCallback(print, StepEnd), StepEnd, freq=2).condition.event is StepEnd
