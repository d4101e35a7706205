import pytest
import torch
from treadle import (
    Callback,
    CallbackRunner,
    CancelFittingException,
    LinearRunner,
    Read,
    ThreadedRunner,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    toy_learner,
)


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


def test_those_that_are_ordered_run_in_their_order(runner) -> None:
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
def test_what_is_not_an_error_comes_out_too(runner, error) -> None:
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


def test_an_exception_from_deep_inside_is_attributed_to_the_handler(runner) -> None:
    def deep(n: int):
        if n == 0:
            raise ValueError("deep")
        deep(n - 1)

    with pytest.raises(ValueError, match="deep") as raised:
        toy_learner(make("A"), make("B", lambda: deep(20)), runner=runner).fit(1)
    assert raised.value.__notes__ == ["Raised by B in on_step_end, TrainingPhase, epoch 1, step 1."]


def test_an_exception_that_was_raised_before_is_attributed_to_the_callback_that_raises_it_now(runner) -> None:
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


# A custom runner.


def test_a_custom_runner_gets_the_calls_in_their_order() -> None:
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
