import os
import threading

import pytest
from treadle import (
    ArgumentTypeError,
    ArgumentValueError,
    Callback,
    CallbackConflictError,
    CancelStepException,
    NoConflict,
    NotDefined,
    Read,
    StepEnd,
    ThreadedRunner,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    hookimpl,
    step,
    toy_learner,
)
from treadle.dispatch.threaded_runner import stages
from treadle.errors import ThreadError


def make(name: str, do=lambda: None, *, at: str = "on_step_end", after=(), **access) -> Callback:
    """A callback that does something at an event of training."""
    declared = dict.fromkeys(access.get("r", "").split(), Read) | dict.fromkeys(access.get("w", "").split(), Write)

    def handle(self, phase: TrainingPhase):
        return do()

    return type(name, (Callback,), {"state_access": declared, "run_after": after, at: handle})()


def raising(error: BaseException):
    def do():
        raise error

    return do


def test_independent_handlers_run_at_the_same_time() -> None:
    barrier = threading.Barrier(3, timeout=10)
    callbacks = [make(name, barrier.wait, r="step.loss") for name in "ABC"]
    assert toy_learner(*callbacks, runner=ThreadedRunner(2), nbatches=1).fit(1).steps == 1


@pytest.mark.parametrize(
    ("access", "after"),
    [
        (({"w": "step.xs"}, {"r": "step.xs"}), ()),
        (({"w": "step.xs"}, {"r": "step"}), ()),
        (({}, {}), ("A",)),
    ],
)
def test_dependent_handlers_do_not_run_at_the_same_time(access, after) -> None:
    inside: list[str] = []
    overlaps: list[list[str]] = []

    def do(name: str):
        inside.append(name)
        overlaps.append(list(inside))
        inside.remove(name)

    first, second = access
    callbacks = [make("B", lambda: do("B"), after=after, **second), make("A", lambda: do("A"), **first)]
    toy_learner(*callbacks, runner=ThreadedRunner(2), nbatches=20).fit(1)
    assert overlaps == [["A"], ["B"]] * 20


def test_callbacks_that_say_they_do_not_conflict_still_do_not_run_at_the_same_time() -> None:
    class Adds(Callback):
        state_access = {"cbstate.sum": Write}

        def resolve_conflict(self, other):
            from treadle import NoConflict

            return NoConflict()

        def on_step_end(self, learner, phase: TrainingPhase):
            before = learner.cbstate.sum
            for _ in range(100):
                pass
            learner.cbstate.sum = before + 1

    learner = toy_learner(*[Adds() for _ in range(4)], runner=ThreadedRunner(4))
    learner.cbstate.sum = 0
    learner.fit(2)
    assert learner.cbstate.sum == 4 * 16 * 2


def test_the_handlers_are_grouped_by_what_they_depend_on() -> None:
    learner = toy_learner(
        make("A", w="step.xs"),
        make("B", r="step.xs"),
        make("C", r="step.xs"),
        make("D", after=("B",)),
        make("E"),
        runner=ThreadedRunner(),
    )
    calls = learner._dispatcher.calls(StepEnd, TrainingPhase())
    assert [[call.callback.name for call in group] for group in stages(calls)] == [["A", "E"], ["B", "C"], ["D"]]


def test_all_errors_are_reported_and_the_first_in_the_order_is_raised() -> None:
    first, second = ValueError("first"), KeyError("second")
    with pytest.raises(ValueError, match="first") as raised:
        toy_learner(make("A", raising(first)), make("B", raising(second)), runner=ThreadedRunner()).fit(1)
    assert raised.value.__notes__ == [
        "Raised by A in on_step_end, TrainingPhase, epoch 1, step 1.",
        "Beside it, B raised KeyError('second') in on_step_end.",
    ]
    assert second.__notes__ == ["Raised by B in on_step_end, TrainingPhase, epoch 1, step 1."]


def test_a_cancel_hides_no_error() -> None:
    cancel, error = CancelStepException("skip"), ValueError("broken")
    with pytest.raises(ValueError, match="broken") as raised:
        toy_learner(make("A", raising(cancel)), make("B", raising(error)), runner=ThreadedRunner()).fit(1)
    assert raised.value.__notes__[-1] == "Beside it, A raised CancelStepException('skip') in on_step_end."


def test_wrappers_go_around_all_of_them() -> None:
    done: list[str] = []

    class Around(Callback):
        @hookimpl(wrapper=True)
        def on_step_end(self, phase: TrainingPhase):
            done.append("in")
            yield
            done.append("out")

    callbacks = [Around(), make("A", lambda: done.append("A")), make("B", lambda: done.append("A"))]
    toy_learner(*callbacks, runner=ThreadedRunner(), nbatches=1).fit(1)
    assert done == ["in", "A", "A", "out"]


@pytest.mark.parametrize(
    ("workers", "error", "message"),
    [
        (
            0,
            ArgumentValueError,
            r"max_workers must be a whole number of at least 1, got 0\.\nFix: write",
        ),
        (-1, ArgumentValueError, r"max_workers must be a whole number of at least 1, got -1"),
        (2.0, ArgumentTypeError, r"got 2\.0\.\nFix: write, for example:\n    ThreadedRunner\(max_workers=4\)"),
        (True, ArgumentTypeError, r"max_workers must be a whole number of at least 1, got True"),
    ],
)
def test_the_number_of_threads_is_a_whole_number(workers, error, message) -> None:
    with pytest.raises(error, match=message):
        ThreadedRunner(workers)


# The loop, entered by a handler.


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("name", ["A", "N", "Z"])
def test_a_callback_that_may_enter_the_loop_is_called_alone_in_the_thread_of_the_fit(workers, name) -> None:
    busy = threading.Lock()
    threads: list[int] = []
    overlaps: list[str] = []

    def alone(self, learner, phase: TrainingPhase):
        threads.append(threading.get_ident())
        with busy:
            learner.loop.epoch(ValidationPhase())

    def beside(who: str):
        if busy.locked():
            overlaps.append(who)

    entering = type(name, (Callback,), {"state_access": {"loop": Write}, "on_step_end": alone})()
    others = [make(other, lambda other=other: beside(other)) for other in "BMXY"]
    assert toy_learner(entering, *others, runner=ThreadedRunner(workers), nbatches=4).fit(1).steps == 4
    assert set(threads) == {threading.get_ident()}
    assert overlaps == []


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("name", ["A", "N", "Z"])
@pytest.mark.parametrize(
    "enter",
    [
        lambda learner: learner.fit(1),
        lambda learner: epoch(learner, ValidationPhase()),
        lambda learner: step(learner, ValidationPhase(), learner.data.validation[0]),
    ],
    ids=["fit", "epoch", "step"],
)
def test_a_handler_that_enters_the_loop_beside_others_is_refused_in_whatever_thread(workers, name, enter) -> None:
    entering = make(name, lambda: enter(learner))
    others = [make(other) for other in "BMXY"]
    learner = toy_learner(entering, *others, runner=ThreadedRunner(workers), nbatches=4)
    with pytest.raises(
        ThreadError,
        match=r"^The loop of this learner was entered by a handler that runs side by side with others, in threads\.\n"
        r"Fix: declare it; the handler is then called on its own, in the thread of the fit, with `learner\.loop`:\n"
        r"    state_access = \{\"loop\": Write\}\n",
    ) as raised:
        learner.fit(1)
    assert raised.value.__notes__ == [f"Raised by {name} in on_step_end, TrainingPhase, epoch 1, step 1."]
    learner.set_callbacks(others)
    assert learner.fit(1).steps == 4


@pytest.mark.parametrize("workers", [1, 2])
def test_handlers_that_run_loops_of_other_learners_with_the_same_runner_do_not_wait_for_each_other(workers) -> None:
    runner = ThreadedRunner(workers)
    done: list[str] = []

    def nest(depth: int, name: str):
        def run():
            done.append(name)
            if depth:
                inner = [make(f"{name}{i}", nest(depth - 1, f"{name}{i}")) for i in range(3)]
                toy_learner(*inner, runner=runner, nbatches=1).fit(1)

        return run

    toy_learner(*(make(f"C{i}", nest(2, f"C{i}")) for i in range(3)), runner=runner, nbatches=1).fit(1)
    assert len(done) == len(set(done)) == 3 + 9 + 27


# What belongs to the process.


class Collective(Callback):
    """Uses something that only one may use at a time, and says so."""

    state_access = {"cbstate.process": Write}

    def __init__(self, name: str, taken: threading.Lock, done: list[str]) -> None:
        self.name, self.taken, self.done = name, taken, done

    def resolve_conflict(self, other):
        return NoConflict() if isinstance(other, Collective) else NotDefined()

    def on_step_end(self, phase: TrainingPhase):
        assert self.taken.acquire(blocking=False), "used by another"
        self.done.append(self.name)
        for _ in range(200):
            os.sched_yield()
        self.taken.release()


def test_callbacks_that_declare_the_process_never_run_side_by_side() -> None:
    taken, done = threading.Lock(), []
    collectives = [Collective(name, taken, done) for name in "DACB"]
    others = [make(name) for name in "EF"]
    learner = toy_learner(*collectives, *others, runner=ThreadedRunner(4), nbatches=4)
    learner.fit(2)
    assert done == ["A", "B", "C", "D"] * 8
    groups = [{call.callback.name for call in group} for group in stages(calls_of(learner))]
    assert groups == [{"A", "E", "F"}, {"B"}, {"C"}, {"D"}]


def calls_of(learner):
    return learner._dispatcher.calls(StepEnd, TrainingPhase())


def test_callbacks_that_declare_the_process_are_ordered_or_refused() -> None:
    first, second = make("A", w="cbstate.process"), make("B", w="cbstate.process")
    with pytest.raises(CallbackConflictError, match=r"A and B both write `cbstate\.process`"):
        toy_learner(first, second)
    type(first).run_after = ("B",)
    learner = toy_learner(first, second, runner=ThreadedRunner())
    assert [[call.callback.name for call in group] for group in stages(calls_of(learner))] == [["B"], ["A"]]
