import threading

import pytest
from treadle import (
    ArgumentTypeError,
    ArgumentValueError,
    Callback,
    CancelStepException,
    Read,
    StepEnd,
    ThreadedRunner,
    TrainingPhase,
    Write,
    hookimpl,
    toy_learner,
)
from treadle.dispatch.threaded_runner import stages


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
