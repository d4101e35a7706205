"""An error of a callback that only watches is reported and ends no fit, if the user wants it so."""

import copy
import re
import weakref
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger
from treadle import (
    Callback,
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    LinearRunner,
    NoConflict,
    Read,
    StepEnd,
    ThreadedRunner,
    TrainingPhase,
    ValidationPhase,
    Write,
    epoch,
    hookimpl,
    throttle,
    toy_learner,
)
from treadle.authoring import why_no_observer
from treadle.dispatch.roles.observers import MOST
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle.events import (
    BackwardBegin,
    BackwardEnd,
    EpochBegin,
    EpochEnd,
    FitBegin,
    FitEnd,
    LossBegin,
    StepBegin,
    UpdateBegin,
    UpdateEnd,
)
from treadle.testing import AuditError, audit
from treadle.testing.toy import noisy_learner

EVENTS = [
    FitBegin,
    EpochBegin,
    StepBegin,
    LossBegin,
    BackwardBegin,
    BackwardEnd,
    UpdateBegin,
    UpdateEnd,
    StepEnd,
    EpochEnd,
    FitEnd,
]


@pytest.fixture
def reported() -> Iterator[list[str]]:
    """The warnings that were reported through loguru."""
    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(message.record["message"]), level="WARNING")
    yield messages
    logger.remove(sink)


class Failing(Callback):
    """Fails at some events, at every nth call; before that it writes half of what it writes."""

    state_access = {"step": Read, "cbstate.failing": Write}

    def __init__(self, *events, every=1, error=None) -> None:
        self.error = OSError("No space left on device.") if error is None else error
        self.every, self.calls = every, 0
        for event in events:
            setattr(self, event.hook, self._handler(event))

    def _handler(self, event):
        def fail(learner) -> None:
            self.calls += 1
            learner.cbstate.failing = self.calls
            if self.calls % self.every == 0:
                raise self.error

        return fail


class Counter(Callback):
    """Counts every event in an entry of its own."""

    state_access = {"cbstate.counts": Write}

    def __init__(self) -> None:
        for event in EVENTS:
            setattr(self, event.hook, self._handler(event.hook))

    def on_init(self, learner) -> None:
        learner.cbstate.counts = {}

    def _handler(self, name):
        def count(learner) -> None:
            learner.cbstate.counts[name] = learner.cbstate.counts.get(name, 0) + 1

        return count


class Shrink(Callback):
    """A writer."""

    state_access = {"step.grads": Write}

    def on_update_begin(self, learner) -> None:
        for gradient in learner.step.grads.values():
            gradient.mul_(0.9)


class SkipSome(Callback):
    """Cancels every third step."""

    def on_loss_begin(self, learner, phase: TrainingPhase) -> None:
        if learner.progress.step % 3 == 0:
            raise CancelStepException


class Aware(Callback):
    """Reads what the failing one writes."""

    state_access = {"cbstate.failing": Read}

    def on_step_end(self, learner) -> None: ...


# The property.


def trained(callbacks, runner, seed=0):
    torch.manual_seed(seed)
    learner = noisy_learner(*callbacks, nbatches=4, runner=runner, observer_errors="warn")
    result = learner.fit(2)
    weights = {name: value.clone() for name, value in learner.model.state_dict().items()}
    return result, weights, dict(learner.cbstate.counts), torch.get_rng_state()


@settings(max_examples=40, deadline=None)
@given(
    events=st.lists(st.sampled_from(EVENTS), min_size=1, unique=True),
    every=st.integers(1, 5),
    name=st.sampled_from(["AAA", "Failing", "Zzz"]),
    error=st.sampled_from([OSError, KeyError, MemoryError, StopIteration, AssertionError]),
    with_reader=st.booleans(),
    threads=st.booleans(),
)
def test_the_run_is_that_without_the_failing_observer(events, every, name, error, with_reader, threads) -> None:
    others = [Counter, Shrink, SkipSome]
    expected = trained([other() for other in others], LinearRunner())
    failing = Failing(*events, every=every, error=error("full"))
    failing.name = name
    present = [*(other() for other in others), failing, *([Aware()] if with_reader else [])]
    result, weights, counts, random_state = trained(present, ThreadedRunner() if threads else LinearRunner())
    assert (result.epochs, result.steps, result.cancelled) == (expected[0].epochs, expected[0].steps, None)
    assert weights.keys() == expected[1].keys()
    assert all(torch.equal(weights[name], expected[1][name]) for name in weights)
    assert counts == expected[2]
    assert torch.equal(random_state, expected[3])
    assert {report.callback for report in result.observer_errors} <= {failing}
    assert sum(report.count for report in result.observer_errors) == failing.calls // every


# Who is an observer.


@pytest.mark.parametrize("event", EVENTS)
def test_an_error_of_an_observer_ends_no_fit_at_any_event(event, reported) -> None:
    result = toy_learner(Failing(event), nbatches=2, observer_errors="warn").fit(1)
    assert (result.epochs, result.steps) == (1, 2)
    assert [(report.hook, type(report.error)) for report in result.observer_errors] == [(event.hook, OSError)]
    assert f"Failing failed in {event.hook}" in reported[0]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"guard": True}, "it is a guard"),
        ({"essential": True}, "it is essential"),
        ({"state_access": {"params": Write, "cbstate.failing": Write}}, "it writes `params`"),
        ({"state_access": {"step.mine": Write, "cbstate.failing": Write}}, "it writes `step.mine`"),
        ({"state_access": {"loop": Write, "cbstate.failing": Write}}, "it writes `loop`"),
    ],
)
def test_an_error_of_any_other_ends_the_fit_at_every_event(event, attributes, why) -> None:
    failing = type("Failing", (Failing,), attributes)(event)
    learner = toy_learner(failing, nbatches=2, observer_errors="warn")
    with pytest.raises(OSError, match="No space left") as raised:
        learner.fit(1)
    assert raised.value.__notes__[-1] == f'Its errors end a fit, also with observer_errors="warn": {why}.'
    assert learner.plan().observers == ()


@pytest.mark.parametrize("event", EVENTS)
def test_by_default_every_error_ends_the_fit(event) -> None:
    error = OSError("No space left on device.")
    with pytest.raises(OSError, match="No space left") as raised:
        toy_learner(Failing(event, error=error), nbatches=2).fit(1)
    assert len(raised.value.__notes__) == 1


def test_an_entry_that_two_write_belongs_to_none_of_them() -> None:
    class Together(Failing):
        def resolve_conflict(self, other):
            return NoConflict()

    first, second = Together(StepEnd, error=OSError("first")), Together()
    second.name = "Second"
    assert why_no_observer(first) is None
    assert why_no_observer(first, [first, second]) == "it writes `cbstate.failing`, as Second does"
    with pytest.raises(OSError, match="first"):
        toy_learner(first, second, observer_errors="warn").fit(1)


def test_an_entry_below_that_of_another_is_not_its_own() -> None:
    class Above(Callback):
        state_access = {"cbstate": Write}

        def on_fit_begin(self) -> None: ...

    assert why_no_observer(Failing(), [Above()]) == "it writes `cbstate.failing`, as Above does"
    assert why_no_observer(Above()) is None


def test_who_wraps_or_overrides_is_no_observer() -> None:
    class Timer(Callback):
        @hookimpl(wrapper=True)
        def forward(self):
            result = yield
            raise OSError("no clock")
            return result

    class Override(Callback):
        def forward(self) -> None:
            raise OSError("no override")

    class AroundSteps(Callback):
        @hookimpl(wrapper=True)
        def on_step_end(self):
            raise OSError("no step")
            yield

    for callback, why in [
        (Timer(), "it wraps `forward`"),
        (Override(), "it overrides `forward`"),
        (AroundSteps(), "it wraps `on_step_end`"),
    ]:
        assert why_no_observer(callback) == why
        with pytest.raises(OSError, match=r"^no ") as raised:
            toy_learner(callback, observer_errors="warn").fit(1)
        assert raised.value.__notes__[-1].endswith(f": {why}.")


@pytest.mark.parametrize(("callback", "others"), [(Failing, []), (Failing(), [Failing]), ("failing", [])])
def test_only_callbacks_are_asked(callback, others) -> None:
    with pytest.raises(ArgumentTypeError, match=r"callback must be an instance of Callback.*\nFix: "):
        why_no_observer(callback, others)


def test_a_result_with_errors_can_be_a_key() -> None:
    result = toy_learner(Failing(EpochEnd), nbatches=1, observer_errors="warn").fit(1)
    assert {result: 1}[result] == 1


def test_what_is_declared_around_a_throttled_callback_counts() -> None:
    assert why_no_observer(throttle(Failing(StepEnd), StepEnd, freq=2)) is None
    essential = type("Essential", (Failing,), {"essential": True})(StepEnd)
    assert why_no_observer(throttle(essential, StepEnd, freq=2)) == "it is essential"
    result = toy_learner(throttle(Failing(StepEnd), StepEnd, freq=2), nbatches=2, observer_errors="warn").fit(1)
    assert result.observer_errors[0].count == 2


def test_the_plan_shows_whose_errors_end_no_fit() -> None:
    learner = toy_learner(Failing(StepEnd), Shrink(), observer_errors="warn")
    assert [callback.name for callback in learner.plan().observers] == ["Failing"]
    assert "Whose errors are reported, and end no fit\n  Failing\n  not Shrink: it writes `step.grads`\n" in str(
        learner.plan()
    )
    raising = toy_learner(Failing(StepEnd), Shrink())
    assert [callback.name for callback in raising.plan().observers] == ["Failing"]
    assert "Whose errors" not in str(raising.plan())
    assert raising.plan().digest == learner.plan().digest


# What is no error of an observer.


def test_a_cancel_is_no_error(reported) -> None:
    class Stop(Callback):
        def on_step_end(self, learner, phase: TrainingPhase) -> None:
            if learner.progress.steps == 3:
                raise CancelFittingException("enough")

    result = toy_learner(Stop(), observer_errors="warn").fit(5)
    assert (result.steps, str(result.cancelled), result.observer_errors) == (3, "enough", ())
    assert reported == []


@pytest.mark.parametrize("runner", [LinearRunner, ThreadedRunner])
def test_a_cancel_beside_the_error_takes_effect(runner) -> None:
    class Stop(Callback):
        def on_step_end(self, learner, phase: TrainingPhase) -> None:
            raise CancelEpochException

    result = toy_learner(Stop(), Failing(StepEnd), runner=runner(), observer_errors="warn").fit(2)
    assert (result.epochs, result.steps) == (0, 2)
    assert result.observer_errors[0].count == MOST


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("runner", [LinearRunner, ThreadedRunner])
def test_an_interrupt_is_never_swallowed(interrupt, runner, reported) -> None:
    with pytest.raises(interrupt):
        toy_learner(Failing(StepEnd, error=interrupt()), Counter(), runner=runner(), observer_errors="warn").fit(1)
    assert reported == []


def test_an_error_in_on_init_is_raised() -> None:
    class Unready(Callback):
        def on_init(self) -> None:
            raise OSError("not ready")

    with pytest.raises(OSError, match="not ready") as raised:
        toy_learner(Unready(), observer_errors="warn")
    assert raised.value.__notes__ == ["Raised by Unready in on_init."]


def test_an_error_of_a_writer_in_a_loop_inside_of_a_handler_ends_the_fit() -> None:
    class Breaks(Callback):
        state_access = {"params": Write}

        def on_epoch_begin(self, phase: ValidationPhase) -> None:
            raise OSError("broken weights")

    class Peek(Callback):
        """Enters the loop without declaring it, by a learner that it got elsewhere."""

        def on_step_end(self, phase: TrainingPhase) -> None:
            epoch(self.learner, ValidationPhase())

    peek = Peek()
    learner = toy_learner(Breaks(), peek, observer_errors="warn")
    peek.learner = learner
    with pytest.raises(OSError, match="broken weights") as raised:
        learner.fit(1)
    assert raised.value.__notes__[0].startswith("Raised by Breaks in on_epoch_begin, ValidationPhase")


def test_what_an_audit_finds_is_raised() -> None:
    class Meddle(Callback):
        state_access = {"params": Read}

        def on_step_end(self, learner) -> None:
            learner.params["weight"].data.mul_(0.5)

    learner = toy_learner(Meddle(), observer_errors="warn")
    assert learner.fit(1).observer_errors == ()
    with audit(learner), pytest.raises(AuditError, match="Meddle does not declare `Write`"):
        learner.fit(1)


def test_an_undeclared_access_of_an_observer_changes_nothing_and_is_reported(reported) -> None:
    class Meddle(Callback):
        def on_step_end(self, learner, phase: TrainingPhase) -> None:
            learner.optimizer.param_groups[0]["lr"] = 100.0

    learner = toy_learner(Meddle(), nbatches=1, observer_errors="warn")
    result = learner.fit(1)
    assert type(result.observer_errors[0].error).__name__ == "ProtectedException"
    assert learner.optimizer.param_groups[0]["lr"] == 0.001
    assert '"optimizer": Read' in reported[0]


# The report.


def test_the_first_error_is_reported_in_full_and_the_others_are_counted(reported) -> None:
    result = toy_learner(Failing(StepEnd), nbatches=2, observer_errors="warn").fit(1)
    first, last = reported
    assert first.startswith(
        "Failing failed in on_step_end, TrainingPhase, epoch 1, step 1. It only watches, so the training goes on.\n"
        "Traceback (most recent call last):\n"
    )
    assert re.search(r'test_observers\.py", line \d+, in fail\n    raise self\.error\n', first)
    assert first.endswith(
        "OSError: No space left on device.\nRaised by Failing in on_step_end, TrainingPhase, epoch 1, step 1."
    )
    assert first.count("\n  File ") == 1
    assert last == "Failing failed 4 times in on_step_end in this fit."
    assert [(report.count, report.left_out) for report in result.observer_errors] == [(4, False)]


def test_an_error_of_each_handler_is_reported_in_full(reported) -> None:
    toy_learner(Failing(EpochBegin, EpochEnd), observer_errors="warn").fit(1)
    assert [line.partition(",")[0] for line in reported] == [
        "Failing failed in on_epoch_begin",
        "Failing failed in on_epoch_end",
        "Failing failed 2 times in on_epoch_begin in this fit.",
        "Failing failed 2 times in on_epoch_end in this fit.",
    ]


def test_after_ten_failures_it_is_left_out_but_for_the_end_of_the_fit(reported) -> None:
    failing = Failing(StepEnd, FitEnd)
    result = toy_learner(failing, nbatches=20, observer_errors="warn").fit(1)
    assert failing.calls == MOST + 1 == 11
    assert [(report.hook, report.count, report.left_out) for report in result.observer_errors] == [
        ("on_fit_end", 1, False),
        ("on_step_end", 10, True),
    ]
    assert reported[1] == (
        "Failing failed 10 times, and is left out of the rest of the fit. The last error was in on_step_end, "
        "TrainingPhase, epoch 1, step 10: OSError: No space left on device."
    )
    assert len(reported) == 3


def test_in_the_next_fit_it_takes_part_again(reported) -> None:
    failing = Failing(StepEnd, error=OSError("full"))
    learner = toy_learner(failing, nbatches=20, observer_errors="warn")
    assert learner.fit(1).observer_errors[0].left_out
    failing.every = 1000
    assert learner.fit(1).observer_errors == ()
    assert failing.calls == MOST + 40
    failing.every = 1
    assert learner.fit(1).observer_errors[0].left_out  # also by the same error, which has the note of before
    assert failing.calls == MOST + 40 + MOST


def test_who_misses_what_it_would_have_written_is_reported(reported) -> None:
    class Printer(Aware): ...

    toy_learner(Failing(StepEnd), Aware(), Printer(), nbatches=20, observer_errors="warn").fit(1)
    line = "Aware and Printer miss what it would have written to `cbstate.failing`, as no other callback writes it."
    assert reported[0].splitlines()[1] == line
    assert reported[1].splitlines()[1:] == [f"From now on {line}"]


def test_one_that_misses_something_is_reported(reported) -> None:
    toy_learner(Failing(EpochEnd), Aware(), nbatches=1, observer_errors="warn").fit(1)
    assert "\nAware misses what it would have written to `cbstate.failing`, as" in reported[0]


def test_what_it_had_written_stays(reported) -> None:
    learner = toy_learner(Failing(StepEnd), Aware(), nbatches=20, observer_errors="warn")
    learner.fit(1)
    assert learner.cbstate.failing == MOST


def test_an_error_that_cannot_be_shown_is_reported_all_the_same(reported) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    result = toy_learner(Failing(StepEnd, error=Odd()), nbatches=20, observer_errors="warn").fit(1)
    assert result.observer_errors[0].left_out
    assert "test_observers.<locals>.Odd" in reported[1] or "Odd" in reported[1]


def test_the_tensors_of_a_failed_handler_are_free() -> None:
    kept = []

    class Fails(Callback):
        state_access = {"step.loss": Read}

        def on_step_end(self, learner) -> None:
            large = learner.step.loss.detach().clone()
            kept.append(weakref.ref(large))
            try:
                raise ValueError("first")
            except ValueError as first:
                raise OSError("second") from first

    learner = toy_learner(Fails(), nbatches=2, observer_errors="warn")
    result = learner.fit(1)
    error = result.observer_errors[0].error
    assert (str(error), str(error.__cause__)) == ("second", "first")
    assert [one.__traceback__ for one in (error, error.__cause__)] == [None, None]
    assert [ref() for ref in kept] == [None] * 4


def test_an_error_at_the_end_of_a_failing_fit_hides_nothing_of_that_ones_traceback(reported) -> None:
    class Broken(Shrink):
        def on_step_end(self) -> None:
            raise KeyError("weights")

    failing = Failing(FitEnd)
    with pytest.raises(KeyError, match="weights") as raised:
        toy_learner(failing, Broken(), observer_errors="warn").fit(1)
    assert raised.traceback[-1].name == "on_step_end"
    assert len(reported) == 1
    assert "KeyError" not in reported[0]
    assert failing.error.__context__ is None


def test_in_a_loop_without_a_fit_errors_are_reported_too(reported) -> None:
    failing = Failing(StepEnd)
    learner = toy_learner(failing, nbatches=6, observer_errors="warn")
    for _ in range(3):
        epoch(learner, TrainingPhase())
    assert (learner.progress.steps, failing.calls, len(reported)) == (18, MOST, 2)
    assert learner.fit(1).observer_errors[0].count == MOST


def test_a_fit_by_steps_goes_on_as_well(reported) -> None:
    result = toy_learner(Failing(StepEnd), observer_errors="warn").fit(steps=5, validate_every=2)
    assert (result.steps, result.observer_errors[0].count) == (5, MOST)


def test_a_condition_that_fails_is_reported_with_its_callback(reported) -> None:
    callback = throttle(Counter(), StepEnd, freq=2)
    callback.condition.should_run = lambda event, phase: None
    result = toy_learner(callback, nbatches=1, observer_errors="warn").fit(1)
    assert "should_run returned None" in str(result.observer_errors[0].error)


# The learner, and what it returns.


def test_a_result_shows_what_was_reported() -> None:
    result = toy_learner(Failing(EpochEnd), nbatches=1, observer_errors="warn").fit(1)
    assert repr(result) == (
        "FitResult(epochs=1, steps=1, cancelled=None, observer_errors=(ReportedError(callback=<Failing(error=OSError("
        "'No space left on device.'))>, hook='on_epoch_end', error=OSError('No space left on device.'), count=2, "
        "left_out=False),))"
    )


@pytest.mark.parametrize("value", ["ignore", None, True, 3, ["warn"]])
def test_any_other_value_is_refused(value) -> None:
    with pytest.raises(ArgumentValueError, match=r"observer_errors has an invalid value: .*\nFix: pass 'raise' or 'w"):
        toy_learner(observer_errors=value)


def test_it_is_set_when_the_learner_is_made() -> None:
    learner = toy_learner(observer_errors="warn")
    with pytest.raises(ArgumentTypeError, match=r"learner\.observer_errors cannot be set\.\nFix: pass it when"):
        learner.observer_errors = "raise"
    assert toy_learner().observer_errors == "raise"


def test_a_copy_and_a_trial_treat_errors_as_the_learner_does(reported) -> None:
    learner = toy_learner(Failing(StepEnd), nbatches=1, observer_errors="warn")
    assert copy.deepcopy(learner).fit(1).observer_errors[0].count == 2
    assert learner.trial([Failing(StepEnd)]).fit(1, learner.data).observer_errors[0].count == 2
