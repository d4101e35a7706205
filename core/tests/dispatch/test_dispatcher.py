import gc
import tracemalloc

import pytest
import torch
from treadle import (
    Callback,
    CallbackError,
    Event,
    LossBegin,
    Phase,
    StepBegin,
    StepEnd,
    TrainingPhase,
    ValidationPhase,
    hookimpl,
    run_epoch,
    run_step,
    step,
    toy_learner,
)
from treadle.dispatch.dispatcher import Handle, nothing
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


def test_what_nobody_handles_costs_no_call_of_python() -> None:
    with run_epoch(toy_learner(), TrainingPhase()) as handle:
        assert handle[LossBegin] is nothing
        assert handle(LossBegin) is None


def test_a_hook_is_compiled_once_for_a_phase() -> None:
    learner, phase = toy_learner(Watch()), TrainingPhase()
    first = learner.handle(phase)[StepBegin]
    assert learner.handle(phase)[StepBegin] is first
    learner.handle(ValidationPhase())
    assert learner.handle(phase)[StepBegin] is first


def test_phases_of_one_type_are_told_apart() -> None:
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
    class Answers(Callback):
        def on_step_end(self):
            return 3

    class Wraps(Callback):
        @hookimpl(wrapper=True)
        def on_step_end(self):
            return (yield)

    with run_step(toy_learner(Answers(), *([Wraps()] if wraps else [])), TrainingPhase()) as (handle, _):
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
