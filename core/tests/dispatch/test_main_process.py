"""On a process that is not the first of its group, nothing is called of what belongs to the main process."""

from collections.abc import Iterator

import pytest
from torch import distributed
from torch.testing._internal.distributed.fake_pg import FakeStore
from treadle import Callback, StepEnd, Write, hookimpl, throttle, toy_learner
from treadle.authoring import capture_run, is_main_process
from treadle.authoring import plan_of as plan


@pytest.fixture(params=[0, 1])
def rank(request) -> Iterator[int]:
    distributed.init_process_group("fake", store=FakeStore(), rank=request.param, world_size=2)
    yield request.param
    distributed.destroy_process_group()


class Printer(Callback):
    main_process_only = True
    state_access = {"cbstate.printed": Write}

    def __init__(self) -> None:
        self.called: list[str] = []

    def on_init(self):
        self.called.append("on_init")

    def on_step_end(self, learner, phase):
        learner.cbstate.printed = 1
        self.called.append("on_step_end")

    def on_fit_end(self):
        self.called.append("on_fit_end")

    @hookimpl(wrapper=True)
    def forward(self):
        self.called.append("forward")
        return (yield)

    def state_dict(self):
        return {"called": self.called}

    def load_state_dict(self, state):
        self.called = [*state["called"], "load_state_dict"]


def test_nothing_of_it_is_called_and_the_plan_is_the_same(rank) -> None:
    printer = Printer()
    learner = toy_learner(printer, nbatches=2)
    learner.fit(1)
    once = ["on_init", *["forward", "on_step_end"] * 4, "on_fit_end"]
    assert (is_main_process(), printer.called) == ((True, once) if rank == 0 else (False, []))
    assert ("printed" in learner.cbstate) is (rank == 0)
    assert "on_fit_end   Printer" in str(plan(learner))


def test_nor_of_a_throttled_one(rank) -> None:
    printer = Printer()
    toy_learner(throttle(printer, StepEnd, freq=2), nbatches=2).fit(1)
    assert bool(printer.called) is (rank == 0)


def test_its_state_belongs_to_the_main_process(rank) -> None:
    learner = toy_learner(Printer(), nbatches=2)
    learner.fit(1)
    state = capture_run(learner)
    assert list(state.part("callbacks")) == (["Printer"] if rank == 0 else [])
    other = toy_learner(Printer(), nbatches=2)
    state.check(other)
    state.put_back(other)
    assert ("load_state_dict" in other.callbacks[0].called) is (rank == 0)


def test_a_group_that_was_made_after_the_learner_counts_from_the_next_fit_on() -> None:
    printer = Printer()
    learner = toy_learner(printer, nbatches=2)
    assert printer.called == ["on_init"]
    distributed.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    try:
        learner.fit(1)
        assert printer.called == ["on_init"]
    finally:
        distributed.destroy_process_group()
    learner.fit(1)
    assert printer.called[1:3] == ["forward", "on_step_end"]


def test_a_group_that_a_callback_makes_in_on_init_counts_from_there_on() -> None:
    class Group(Callback):
        def on_init(self):
            distributed.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)

    printer = Printer()
    try:
        toy_learner(printer, Group())
        assert printer.called == []
    finally:
        distributed.destroy_process_group()
