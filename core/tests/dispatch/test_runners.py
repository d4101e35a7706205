import threading

import pytest
import torch
from treadle import (
    ArgumentTypeError,
    ArgumentValueError,
    Callback,
    CallbackRunner,
    CancelFittingException,
    CancelStepException,
    LinearRunner,
    Read,
    StepEnd,
    ThreadedRunner,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    hookimpl,
    toy_learner,
)
from treadle.dispatch.runners import stages


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


@pytest.fixture(params=[LinearRunner, ThreadedRunner])
def runner(request) -> CallbackRunner:
    return request.param()


# Every runner.


def test_every_handler_runs_once_at_each_event(runner) -> None:
    done: list[str] = []
    callbacks = [make(name, lambda name=name: done.append(name)) for name in "ABCDE"]
    toy_learner(*callbacks, runner=runner, nbatches=3).fit(1)
    assert sorted(done) == sorted("ABCDE" * 3)


def test_those_that_wait_run_after_those_they_wait_for(runner) -> None:
    done: list[str] = []
    callbacks = [
        make("A", lambda: done.append("A"), after=("B",)),
        make("B", lambda: done.append("B"), r="cbstate.x"),
        make("C", lambda: done.append("C"), w="cbstate.x"),
    ]
    toy_learner(*callbacks, runner=runner, nbatches=2).fit(1)
    assert done == ["C", "B", "A"] * 2


def test_an_exception_of_a_handler_is_the_same_object_with_a_note(runner) -> None:
    error = ValueError("broken")
    with pytest.raises(ValueError, match="broken") as raised:
        toy_learner(make("A"), make("B", raising(error)), make("C"), runner=runner).fit(1)
    assert raised.value is error
    assert error.__notes__ == ["Raised by B in on_step_end, TrainingPhase, epoch 1, step 1."]


def test_a_cancel_of_a_handler_ends_the_fit(runner) -> None:
    b = make("B", raising(CancelFittingException("enough")))
    result = toy_learner(make("A"), b, make("C"), runner=runner).fit(1)
    assert (str(result.cancelled), result.cancelled.callback) == ("enough", b)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_is_no_error_comes_out_too(runner, error) -> None:
    with pytest.raises(type(error)) as raised:
        toy_learner(make("A", raising(error)), make("B"), runner=runner).fit(1)
    assert raised.value is error


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_which_of_many_raised_is_known(runner, count) -> None:
    for guilty in {0, count // 2, count - 1}:
        error = ValueError("broken")
        callbacks = [make(f"C{i:02}", raising(error) if i == guilty else lambda: None) for i in range(count)]
        with pytest.raises(ValueError, match="broken"):
            toy_learner(*callbacks, runner=runner).fit(1)
        assert error.__notes__ == [f"Raised by C{guilty:02} in on_step_end, TrainingPhase, epoch 1, step 1."]


def test_an_exception_from_deep_inside_is_blamed_on_the_handler(runner) -> None:
    def deep(n: int):
        if n == 0:
            raise ValueError("deep")
        deep(n - 1)

    with pytest.raises(ValueError, match="deep") as raised:
        toy_learner(make("A"), make("B", lambda: deep(20)), runner=runner).fit(1)
    assert raised.value.__notes__ == ["Raised by B in on_step_end, TrainingPhase, epoch 1, step 1."]


def test_an_exception_that_was_raised_before_is_blamed_on_who_raises_it_now(runner) -> None:
    old = ValueError("old")
    try:
        raise old
    except ValueError:
        pass
    with pytest.raises(ValueError, match="old"):
        toy_learner(make("A"), make("B"), make("C", raising(old)), runner=runner).fit(1)
    assert old.__notes__ == ["Raised by C in on_step_end, TrainingPhase, epoch 1, step 1."]


def test_handlers_see_the_loops_switch_for_gradients(runner) -> None:
    seen: list[bool] = []

    class Look(Callback):
        def on_step_end(self, phase: ValidationPhase):
            seen.append(torch.is_grad_enabled())

    class Again(Look):
        """Another one."""

    epoch(toy_learner(Look(), Again(), runner=runner, nbatches=2), ValidationPhase())
    assert seen == [False] * 4


def test_handlers_see_the_autocast_under_which_the_loop_runs(runner) -> None:
    seen: list[tuple[bool, torch.dtype]] = []

    class Look(Callback):
        def on_step_end(self):
            seen.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))

    class Again(Look):
        """Another one."""

    with torch.autocast("cpu", torch.float16):
        epoch(toy_learner(Look(), Again(), runner=runner, nbatches=1), TrainingPhase())
    assert seen == [(True, torch.float16)] * 2
    epoch(toy_learner(Look(), Again(), runner=runner, nbatches=1), TrainingPhase())
    assert [enabled for enabled, _ in seen[2:]] == [False] * 2


# One after the other.


def test_one_after_the_other_stops_at_the_first_exception() -> None:
    done: list[str] = []
    with pytest.raises(ValueError, match="broken"):
        toy_learner(
            make("A", lambda: done.append("A")),
            make("B", raising(ValueError("broken"))),
            make("C", lambda: done.append("C")),
        ).fit(1)
    assert done == ["A"]


def test_a_handlers_result_means_nothing() -> None:
    assert toy_learner(make("A", lambda: 3), make("B", lambda: False)).fit(1).steps == 16


# Side by side.


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
def test_dependent_ones_do_not(access, after) -> None:
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


def test_the_handlers_are_grouped_by_whom_they_wait_for() -> None:
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


def test_all_errors_are_told_the_first_in_the_order_is_raised() -> None:
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
        (0, ArgumentValueError, r"max_workers is at least 1, got 0: ThreadedRunner\(max_workers=4\)"),
        (-1, ArgumentValueError, r"max_workers is at least 1, got -1"),
        (2.0, ArgumentTypeError, r"max_workers is a whole number, got 2\.0: ThreadedRunner\(max_workers=4\)"),
        (True, ArgumentTypeError, r"max_workers is a whole number, got True"),
    ],
)
def test_the_number_of_threads_is_a_whole_number(workers, error, message) -> None:
    with pytest.raises(error, match=message):
        ThreadedRunner(workers)


# A runner of one's own.


def test_a_runner_of_ones_own_gets_the_calls_in_their_order() -> None:
    compiled = []

    class Backwards(CallbackRunner):
        def compile(self, calls):
            compiled.append([call.callback.name for call in calls])

            def run():
                for call in reversed(calls):
                    call()

            return run

    done: list[str] = []
    callbacks = [make(name, lambda name=name: done.append(name)) for name in "AB"]
    toy_learner(*callbacks, runner=Backwards(), nbatches=2).fit(1)
    assert (compiled, done) == ([["A", "B"]], ["B", "A"] * 2)


def test_a_runner_says_how_to_run() -> None:
    with pytest.raises(TypeError, match="abstract"):
        CallbackRunner()
