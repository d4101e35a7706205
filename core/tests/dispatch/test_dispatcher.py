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
            CallbackError, match=r"Only the class of an event or an operation can be handled, got .*: handle\(StepEnd\)"
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


# Wrappers of events.


class Around(Callback):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    @hookimpl(wrapper=True)
    def on_step_end(self, learner, phase: TrainingPhase):
        self.log.append(f"{self.name} in")
        try:
            return (yield)
        finally:
            self.log.append(f"{self.name} out")


class Inside(Callback):
    def __init__(self, name: str, log: list[str], error: BaseException | None = None) -> None:
        self.name, self.log, self.error = name, log, error

    def on_step_end(self, phase: TrainingPhase):
        self.log.append(self.name)
        if self.error is not None:
            raise self.error


def test_the_wrappers_of_an_event_go_around_all_of_its_handlers_in_their_order() -> None:
    log: list[str] = []
    toy_learner(Inside("a", log), Around("b", log), Inside("c", log), Around("d", log), nbatches=1).fit(1)
    assert log == ["b in", "d in", "a", "c", "d out", "b out"]


def test_they_unwind_and_only_who_raised_is_blamed() -> None:
    log: list[str] = []
    error = ValueError("inside")
    with pytest.raises(ValueError, match="inside") as raised:
        toy_learner(Around("b", log), Inside("a", log, error), Around("d", log), Inside("c", log)).fit(1)
    assert log == ["b in", "d in", "a", "d out", "b out"]
    assert raised.value is error
    assert error.__notes__ == ["Raised by a in on_step_end, TrainingPhase, epoch 1, step 1."]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_wrapper_that_raises_is_blamed_itself(when) -> None:
    class Raises(Callback):
        @hookimpl(wrapper=True)
        def on_step_end(self):
            if when == "before":
                raise ValueError("mine")
            yield
            raise ValueError("mine")

    log: list[str] = []
    with pytest.raises(ValueError, match="mine") as raised:
        toy_learner(Around("A", log), Raises(), Inside("c", log)).fit(1)
    assert raised.value.__notes__ == ["Raised by Raises in on_step_end, TrainingPhase, epoch 1, step 1."]
    assert log == (["A in", "A out"] if when == "before" else ["A in", "c", "A out"])


def test_a_wrapper_that_replaces_the_exception_is_blamed_for_the_new_one() -> None:
    class Replaces(Callback):
        @hookimpl(wrapper=True)
        def on_step_end(self):
            try:
                yield
            except ValueError as error:
                raise KeyError("new") from error

    with pytest.raises(KeyError, match="new") as raised:
        toy_learner(Replaces(), Inside("a", [], ValueError("old"))).fit(1)
    assert raised.value.__notes__ == ["Raised by Replaces in on_step_end, TrainingPhase, epoch 1, step 1."]


# Generators, rightly and wrongly used.


@pytest.mark.parametrize("hook", ["on_step_end", "forward"])
def test_a_handler_with_a_yield_is_marked_as_a_wrapper(hook) -> None:
    def handle(self):
        yield

    with pytest.raises(
        CallbackError,
        match=rf"Mine\.{hook} has a `yield`, so calling it would run nothing of it\. To wrap, write @hookimpl",
    ):
        toy_learner(type("Mine", (Callback,), {hook: handle})())


@pytest.mark.parametrize("hook", ["on_step_end", "forward"])
@pytest.mark.parametrize("yields", [False, True])
def test_a_handler_is_no_coroutine(hook, yields) -> None:
    async def handle(self): ...

    async def generate(self):
        yield

    method = hookimpl(generate if yields else handle)
    with pytest.raises(
        CallbackError,
        match=rf"^Mine\.{hook} is an `async def`, so calling it would run nothing of it\. Write `def`\.$",
    ):
        toy_learner(type("Mine", (Callback,), {hook: method})())


def test_a_handlers_arguments_are_passed_by_position() -> None:
    class Mine(Callback):
        def on_step_end(self, *, learner): ...

    with pytest.raises(
        CallbackError, match=r"^Mine\.on_step_end takes `learner` by keyword alone.*Take the `\*` out\.$"
    ):
        toy_learner(Mine())


@pytest.mark.parametrize("hook", ["on_step_end", "forward"])
def test_a_wrapper_has_a_yield(hook) -> None:
    @hookimpl(wrapper=True)
    def handle(self):
        return 3

    with pytest.raises(
        CallbackError, match=rf"Mine has a method that does not match .*{hook}.*not a generator function"
    ):
        toy_learner(type("Mine", (Callback,), {hook: handle})())


@pytest.mark.parametrize("hook", ["on_step_end", "forward"])
@pytest.mark.parametrize("times", [0, 2, 3])
def test_a_wrapper_yields_once(hook, times) -> None:
    log: list[str] = []

    @hookimpl(wrapper=True)
    def handle(self):
        try:
            for _ in range(times):
                yield
        finally:
            log.append("closed")

    said = "nothing" if times == 0 else "more than once"
    with pytest.raises(
        CallbackError,
        match=rf"^Mine\.{hook} is a wrapper and yields {said}\. It yields once, and what it wraps runs there: result",
    ):
        toy_learner(type("Mine", (Callback,), {hook: handle})()).fit(1)
    assert log == ["closed"]


@pytest.mark.parametrize("option", ["tryfirst", "trylast", "hookwrapper", "optionalhook"])
def test_options_of_pluggy_that_go_around_the_order_are_refused(option) -> None:
    @hookimpl(**{option: True})
    def on_step_end(self):
        yield

    def plain(self): ...

    method = on_step_end if option == "hookwrapper" else hookimpl(**{option: True})(plain)
    with pytest.raises(
        CallbackError,
        match=rf"Mine\.on_step_end uses @hookimpl\({option}=True\), which has no meaning here\. The order comes",
    ):
        toy_learner(type("Mine", (Callback,), {"on_step_end": method})())


def test_hookimpl_without_options_changes_nothing() -> None:
    log = []

    class Mine(Callback):
        @hookimpl
        def on_step_end(self, phase: TrainingPhase):
            log.append(1)

    toy_learner(Mine(), nbatches=2).fit(1)
    assert log == [1, 1]


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


def test_an_argument_with_a_default_is_refused_because_it_would_never_be_passed() -> None:
    class Hopeful(Callback):
        def on_step_end(self, learner, phase=None): ...

    with pytest.raises(CallbackError, match=r"Hopeful\.on_step_end gives `phase` a default.*\(self, phase\)$"):
        toy_learner(Hopeful())


def test_a_default_of_an_argument_of_ones_own_stays() -> None:
    class Own(Callback):
        def on_step_end(self, seen=[]):  # noqa: B006
            seen.append(1)
            self.seen = seen

    own = Own()
    toy_learner(own, nbatches=1).fit(1)
    assert own.seen == [1, 1]
