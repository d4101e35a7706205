import gc
import traceback
import tracemalloc
import weakref

import pytest
import torch
from treadle import (
    Callback,
    CallbackError,
    Event,
    LinearRunner,
    LossBegin,
    Phase,
    StepBegin,
    StepEnd,
    TrainingPhase,
    ValidationPhase,
    epoch,
    hookimpl,
    run_epoch,
    run_step,
    step,
    toy_learner,
)
from treadle.dispatch.dispatcher import KEPT, Handle, nothing
from treadle.operations import Forward, Loss

BATCH = (torch.ones(2, 1), torch.ones(2, 1))


class Watch(Callback):
    def __init__(self) -> None:
        self.log = []

    def on_step_begin(self, learner, phase):
        self.log.append(phase)


# The handle of a phase.


def test_a_handle_dispatches_events_and_does_operations() -> None:
    watch, phase = Watch(), TrainingPhase()
    learner = toy_learner(watch)
    with run_step(learner, phase, xs=BATCH[0], ys=BATCH[1]) as (handle, state):
        assert isinstance(handle, Handle)
        assert handle(StepBegin) is None
        state.yhats = handle(Forward)
        assert handle[Loss]().item() == 1.0
    assert watch.log == [phase, phase]


def test_an_event_without_handlers_costs_no_call_of_python() -> None:
    with run_epoch(toy_learner(), TrainingPhase()) as handle:
        assert handle[LossBegin] is nothing
        assert handle(LossBegin) is None


def test_a_hook_is_compiled_once_for_a_phase() -> None:
    learner, phase = toy_learner(Watch()), TrainingPhase()
    first = learner.handle(phase)[StepBegin]
    assert learner.handle(phase)[StepBegin] is first
    learner.handle(ValidationPhase())
    assert learner.handle(phase)[StepBegin] is first


def test_phases_of_one_type_with_other_fields_are_passed_as_they_are() -> None:
    class Named(TrainingPhase):
        def __init__(self, name):
            self.name = name

    watch = Watch()
    learner = toy_learner(watch)
    for name in "abab":
        step(learner, Named(name), BATCH)
    assert [phase.name for phase in watch.log] == ["a", "b", "a", "b"]


def test_a_change_of_the_callbacks_is_a_change_of_what_is_called() -> None:
    first, second = Watch(), Watch()
    learner, phase = toy_learner(first), TrainingPhase()
    step(learner, phase, BATCH)
    learner.set_callbacks([second])
    step(learner, phase, BATCH)
    assert (len(first.log), len(second.log)) == (1, 1)


@pytest.mark.parametrize("hook", ["on_step_end", StepEnd(), 3, None, int, Phase])
def test_only_hooks_can_be_handled(hook) -> None:
    with (
        pytest.raises(
            CallbackError,
            match=r"A handle takes the class of an event or an operation, got .*\.\n"
            r"Fix: pass the class:\n    handle\(StepEnd\)",
        ),
        run_epoch(toy_learner(), TrainingPhase()) as handle,
    ):
        handle(hook)


@pytest.mark.parametrize("wraps", [False, True])
def test_an_event_has_no_result(wraps) -> None:
    class Returns(Callback):
        def on_step_end(self):
            return 3

    class Wraps(Callback):
        @hookimpl(wrapper=True)
        def on_step_end(self):
            return (yield)

    with run_step(toy_learner(Returns(), *([Wraps()] if wraps else [])), TrainingPhase()) as (handle, _):
        assert handle(StepEnd) is None


# Dispatch leaves nothing behind.


def test_memory_does_not_grow_with_the_number_of_steps() -> None:
    class Busy(Callback):
        def on_step_begin(self, learner, phase): ...

        @hookimpl(wrapper=True)
        def forward(self):
            return (yield)

    learner, phase = toy_learner(Busy(), Busy.__base__()), ValidationPhase()

    def run() -> None:
        with run_epoch(learner, phase):
            for _ in range(100):
                step(learner, phase, BATCH)

    run()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    run()
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 4000


def test_redeclaring_an_event_as_a_notebook_does_keeps_its_handlers() -> None:
    def declare():
        class CellEvent(Event):
            """In a cell that is run twice."""

        return CellEvent

    log = []

    class Listens(Callback):
        def on_cell_event(self):
            log.append(1)

    first = declare()
    learner = toy_learner(Listens())
    second = declare()
    with run_epoch(learner, TrainingPhase()) as handle:
        handle(first)
        handle(second)
    assert log == [1, 1]


# Compiled once for equal phases.


class Counting(LinearRunner):
    """Counts what it compiles."""

    compiled = 0

    def compile(self, calls):
        self.compiled += 1
        return super().compile(calls)


class Level(TrainingPhase):
    """A phase with a field."""

    def __init__(self, level) -> None:
        self.level = level


class Levels(Callback):
    """Notes the phases that it is passed, by whatever way."""

    def __init__(self) -> None:
        self.seen = []

    def on_step_begin(self, phase: TrainingPhase):
        self.seen.append(phase)

    @hookimpl(wrapper=True)
    def on_step_end(self, phase: TrainingPhase):
        self.seen.append(phase)
        return (yield)

    def forward(self, phase: TrainingPhase):
        self.seen.append(phase)


def test_a_hundred_fits_compile_nothing_after_the_first() -> None:
    runner = Counting()
    learner = toy_learner(Watch(), runner=runner, nbatches=1)
    learner.fit(1)
    first, order = runner.compiled, learner.ordering.order
    learner.ordering.order = None  # nothing asks for an order any more
    for _ in range(100):
        learner.fit(1)
    learner.ordering.order = order
    assert runner.compiled == first == 2  # once for each phase


def test_equal_phases_are_compiled_once_and_each_is_passed_to_the_handlers() -> None:
    runner, levels = Counting(), Levels()
    learner = toy_learner(levels, runner=runner, nbatches=1)
    phases = [Level(1), Level(1), Level(2), Level(1)]
    for phase in phases:
        step(learner, phase, BATCH)
    assert runner.compiled == 2
    assert [id(phase) for phase in levels.seen] == [id(phase) for phase in phases for _ in range(3)]


def test_the_cores_part_of_an_operation_gets_the_phase_that_is_under_way() -> None:
    class Scaled(TrainingPhase):
        def step(self, learner, batch):
            ran.append(self)

    ran, learner = [], toy_learner()
    first, second = Scaled(), Scaled()
    for phase in (first, second, first):
        step(learner, phase, BATCH)
    assert [id(phase) for phase in ran] == [id(first), id(second), id(first)]


def test_a_phase_may_change_its_fields_while_it_runs() -> None:
    class Rising(Level):
        def step(self, learner, batch):
            self.level += 1
            super().step(learner, batch)

    levels = Levels()
    learner = toy_learner(levels, nbatches=2)
    for _ in range(2):
        rising = Rising(0)
        learner.fit(1, phases=[rising])
        assert all(phase is rising for phase in levels.seen[-6:])
    same = Rising(0)
    learner.fit(1, phases=[same, same])
    assert (len(levels.seen), same.level) == (24, 4)
    assert all(phase is same for phase in levels.seen[-12:])


def test_phases_whose_fields_cannot_be_compared_are_compiled_each_on_its_own() -> None:
    runner, levels = Counting(), Levels()
    learner = toy_learner(levels, runner=runner, nbatches=1)
    phases = [Level(torch.ones(2)), Level(torch.ones(2))]
    for phase in phases:
        step(learner, phase, BATCH)
        step(learner, phase, BATCH)
    assert runner.compiled == 2
    assert [id(phase) for phase in levels.seen] == [id(phase) for phase in phases for _ in range(6)]


def test_phases_whose_fields_change_all_the_time_accumulate_nothing() -> None:
    learner = toy_learner(Watch(), nbatches=1)
    kept = []
    for level in range(50):
        phase = Level(level)
        step(learner, phase, BATCH)
        kept.append(weakref.ref(phase))
        del phase
    learner.get_callback(Watch).log.clear()
    gc.collect()
    assert sum(phase() is not None for phase in kept) <= KEPT


def test_a_step_inside_a_step_of_an_equal_phase_is_a_step_of_its_own() -> None:
    class Nested(Callback):
        def on_step_begin(self, phase):
            log.append(phase)
            if phase is outer:
                step(learner, inner, BATCH)

    log, outer, inner = [], ValidationPhase(), ValidationPhase()
    learner = toy_learner(Nested())
    for _ in range(2):
        step(learner, outer, BATCH)
    assert [id(phase) for phase in log] == [id(outer), id(inner)] * 2


@pytest.mark.parametrize("enter", [lambda phase: step(*phase, BATCH), lambda phase: epoch(*phase, [BATCH])])
def test_what_follows_a_nested_equal_phase_gets_the_phase_that_is_under_way(enter) -> None:
    class Nested(Callback):
        def on_step_begin(self, phase):
            log.append(phase)

        def on_step_end(self, phase):
            if phase is outer:
                enter((learner, Level(1)))
                log.append(phase)

        def on_epoch_end(self, phase):
            log.append(phase)

    class After(Callback):
        run_after = (Nested,)

        def on_step_end(self, phase):
            log.append(phase)

    log, outer, runner = [], Level(1), Counting()
    learner = toy_learner(Nested(), After(), runner=runner)
    epoch(learner, outer, [BATCH] * 3)
    assert all(phase is outer for phase in log[-3:])
    assert [phase is outer for phase in log].count(True) == 3 * 3 + 1
    compiled = runner.compiled
    epoch(learner, outer, [BATCH] * 3)
    assert runner.compiled == compiled


# A traceback shows the loop and the user's line.


def frames(error: BaseException) -> list[tuple[str, str]]:
    """The frames of a traceback inside of the loop: the file's last part and the function."""
    found = [(frame.filename.rpartition("/")[2], frame.name) for frame in traceback.extract_tb(error.__traceback__)]
    return found[found.index(("learner.py", "fit")) :]


@pytest.mark.parametrize(
    ("hook", "loop", "dispatch"),
    [
        (
            "on_step_end",
            [("training_step.py", "training_step"), ("loop.py", "end_step")],
            ("runners.py", "run_handlers"),
        ),
        ("on_loss_begin", [("training_step.py", "training_step")], ("runners.py", "run_handlers")),
        ("forward", [("training_step.py", "training_step")], ("wrappers.py", "run_overrides")),
    ],
)
def test_the_traceback_of_a_handlers_error_shows_one_frame_of_dispatch(hook, loop, dispatch) -> None:
    def handle(self):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken") as raised:
        toy_learner(type("Broken", (Callback,), {hook: handle})()).fit(1)
    shown = frames(raised.value)
    assert shown[-len(loop) - 2 :] == [*loop, dispatch, ("test_dispatcher.py", "handle")]
    machinery = ("dispatcher.py", "runners.py", "wrappers.py", "call.py")
    assert [frame for frame in shown if frame[0] in machinery] == [dispatch]


def test_the_source_of_every_frame_is_shown() -> None:
    class Broken(Callback):
        def on_step_end(self):
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken") as raised:
        toy_learner(Broken()).fit(1)
    assert all(frame.line for frame in traceback.extract_tb(raised.value.__traceback__))
