import inspect

import pluggy
import pytest
import treadle
from treadle import (
    ArgumentTypeError,
    BackwardBegin,
    BackwardEnd,
    Callback,
    CallbackError,
    EpochBegin,
    EpochEnd,
    Event,
    FitBegin,
    FitEnd,
    LossBegin,
    StepBegin,
    StepEnd,
    TrainingPhase,
    UpdateBegin,
    UpdateEnd,
    run_epoch,
    run_step,
    toy_learner,
)
from treadle import events as events_module
from treadle.events import hookspec, known_events, snake_case, subclasses

EVENTS = {
    "on_init": ("learner",),
    "on_fit_begin": ("learner",),
    "on_fit_end": ("learner",),
    "on_epoch_begin": ("learner", "phase"),
    "on_epoch_end": ("learner", "phase"),
    "on_step_begin": ("learner", "phase"),
    "on_step_end": ("learner", "phase"),
    "on_loss_begin": ("learner", "phase"),
    "on_backward_begin": ("learner", "phase"),
    "on_backward_end": ("learner", "phase"),
    "on_update_begin": ("learner", "phase"),
    "on_update_end": ("learner", "phase"),
}


@pytest.mark.parametrize(("hook", "arguments"), EVENTS.items())
def test_an_event_carries_its_pluggy_specification(hook, arguments) -> None:
    event = known_events()[hook]
    assert issubclass(event, Event)
    assert (event.hook, event.arguments) == (hook, arguments)
    manager = pluggy.PluginManager("treadle")
    manager.add_hookspecs(type("Specs", (), {hook: staticmethod(event.spec)}))
    spec = getattr(manager.hook, hook).spec
    assert tuple(spec.argnames) == arguments
    assert inspect.getdoc(event.spec) == inspect.getdoc(event)


def test_the_core_declares_these_events_and_no_others() -> None:
    declared = [value for value in vars(events_module).values() if isinstance(value, type) and issubclass(value, Event)]
    assert {event.hook for event in declared if event is not Event} == set(EVENTS)


PUBLIC = [
    EpochBegin,
    EpochEnd,
    StepBegin,
    StepEnd,
    LossBegin,
    BackwardBegin,
    BackwardEnd,
    UpdateBegin,
    UpdateEnd,
    FitBegin,
    FitEnd,
    Event,
]


@pytest.mark.parametrize("name", [event.__name__ for event in PUBLIC])
def test_events_import_from_treadle_and_from_its_events(name) -> None:
    assert getattr(treadle, name) is getattr(events_module, name)
    assert name in treadle.__all__


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("StepEnd", "step_end"),
        ("StopOnNaNLoss", "stop_on_nan_loss"),
        ("LRFinder", "lr_finder"),
        ("ToGPU", "to_gpu"),
        ("LogHyperParams", "log_hyper_params"),
        ("Epoch2End", "epoch2_end"),
        ("already_snake", "already_snake"),
        ("UP", "up"),
    ],
)
def test_snake_case(name, expected) -> None:
    assert snake_case(name) == expected


def test_only_fit_end_always_runs_every_handler() -> None:
    assert [hook for hook in EVENTS if known_events()[hook].always] == ["on_fit_end"]


# Custom events.


class BatchMixed(Event):
    """The rows of a batch were mixed."""


class Announced(Event, phased=False):
    """Something outside of all phases."""


class Cleanup(Event, always=True):
    """All clean up, whatever happens."""


def test_a_custom_event_has_a_hook_named_for_it() -> None:
    assert (BatchMixed.hook, BatchMixed.arguments, BatchMixed.phased) == (
        "on_batch_mixed",
        ("learner", "phase"),
        True,
    )
    assert (Announced.hook, Announced.arguments) == ("on_announced", ("learner",))
    assert known_events()["on_batch_mixed"] is BatchMixed


def test_a_phase_dispatches_it_and_callbacks_handle_it_by_its_name() -> None:
    handled = []

    class Listener(Callback):
        def on_batch_mixed(self, phase: TrainingPhase):
            handled.append(phase)

        def on_announced(self):
            handled.append("announced")

    learner, phase = toy_learner(Listener()), TrainingPhase()
    with run_epoch(learner, phase) as handle, run_step(learner, phase) as (step_handle, _):
        step_handle(BatchMixed)
        handle(Announced)
    assert handled == [phase, "announced"]


def test_an_event_declared_after_the_learner_was_made_can_be_dispatched() -> None:
    learner = toy_learner(treadle.CustomCallback(print, EpochEnd))

    class Late(Event):
        """Declared late."""

    with run_epoch(toy_learner(), TrainingPhase()) as handle:
        assert handle(Late) is None
    with run_step(learner, TrainingPhase()) as (handle, _):
        assert handle(Late) is None


def test_an_event_that_always_runs_every_handler_raises_the_first_error_afterwards() -> None:
    ran = []

    class A(Callback):
        def on_cleanup(self):
            ran.append("A")
            raise ValueError("A failed")

    class B(Callback):
        def on_cleanup(self):
            ran.append("B")
            raise KeyError("B failed")

    class C(Callback):
        def on_cleanup(self):
            ran.append("C")

    with (
        pytest.raises(ValueError, match="A failed") as raised,
        run_step(toy_learner(C(), B(), A()), TrainingPhase()) as (handle, _),
    ):
        handle(Cleanup)
    assert ran == ["A", "B", "C"]
    assert raised.value.__notes__ == [
        "Raised by A in on_cleanup, TrainingPhase, epoch 0, step 1.",
        "Beside it, B raised KeyError('B failed') in on_cleanup.",
    ]


def test_fit_end_runs_every_handler_also_around_a_wrapper() -> None:
    ran = []

    class Around(Callback):
        @treadle.hookimpl(wrapper=True)
        def on_fit_end(self):
            try:
                return (yield)
            finally:
                ran.append("Around")

    class Broken(Callback):
        def on_fit_end(self):
            raise ValueError("broken")

    class Last(Callback):
        def on_fit_end(self):
            ran.append("Last")

    with pytest.raises(ValueError, match="broken"):
        toy_learner(Around(), Broken(), Last()).fit(0)
    assert ran == ["Last", "Around"]


def test_subclasses_are_listed_each_once_parents_first() -> None:
    class Top: ...

    class Left(Top): ...

    class Right(Top): ...

    class Both(Left, Right): ...

    assert list(subclasses(Top)) == [Left, Right, Both]


def test_unphased_events_are_those_of_fit() -> None:
    assert [event for event in (FitBegin, FitEnd, EpochBegin) if not event.phased] == [FitBegin, FitEnd]


def test_a_specification_is_one_for_pluggy() -> None:
    marker = f"{hookspec.project_name}_spec"
    assert getattr(EpochBegin.spec, marker)["firstresult"] is False


# The specification of an event stands in its class, or is a default.


@pytest.mark.parametrize("hook", EVENTS)
def test_a_search_for_the_hook_finds_its_definition(hook) -> None:
    event = known_events()[hook]
    assert f"    @hookspec\n    def {hook}({EVENTS[hook][0]}: Learner" in inspect.getsource(event)
    assert event.spec is getattr(event, hook)


class Written(Event):
    """Its specification is written."""

    @staticmethod
    @hookspec
    def on_written(learner, phase): ...


class WrittenPlainly(Event, phased=False):
    """Its specification is written, and nothing else."""

    def on_written_plainly(learner): ...  # noqa: N805


def test_a_custom_event_may_write_its_specification() -> None:
    assert (Written.arguments, WrittenPlainly.arguments) == (("learner", "phase"), ("learner",))
    handled = []

    class Listens(Callback):
        def on_written(self, learner, phase):
            handled.append("written")

        def on_written_plainly(self, learner):
            handled.append("plainly")

    with run_step(toy_learner(Listens()), TrainingPhase()) as (handle, _):
        for event in (Written, WrittenPlainly):
            handle(event)
    assert handled == ["written", "plainly"]


def test_its_handlers_are_held_to_it() -> None:
    class Asks(Callback):
        def on_written_plainly(self, learner, phase): ...

    with pytest.raises(CallbackError, match=r"^Asks\.on_written_plainly does not match the hook of its name\."):
        toy_learner(Asks())


@pytest.mark.parametrize("wrong", [["on_other"], ["on_wrong_name", "on_other"], ["on_other", "on_another"]])
def test_a_specification_of_another_name_is_refused_by_name(wrong) -> None:
    specs = {name: staticmethod(hookspec(lambda learner: None)) for name in wrong}
    others = "`, `".join(name for name in wrong if name != "on_wrong_name")
    with pytest.raises(
        ArgumentTypeError,
        match=rf"^WrongName defines the hook specification `{others}`, and its hook is `on_wrong_name`\.\n"
        r"Fix: define that one and no other:\n    @staticmethod\n    @hookspec\n    def on_wrong_name\(",
    ):
        type("WrongName", (Event,), specs)
    assert "on_wrong_name" not in known_events()


@pytest.mark.parametrize(
    ("spec", "phased", "takes", "passed"),
    [
        (lambda learner, batch, phase: None, True, "learner, batch, phase", "learner, phase"),
        (lambda learner: None, True, "learner", "learner, phase"),
        (lambda self, learner, phase: None, True, "self, learner, phase", "learner, phase"),
        (lambda learner, phase: None, False, "learner, phase", "learner"),
    ],
)
def test_a_specification_takes_what_an_event_passes(spec, phased, takes, passed) -> None:
    with pytest.raises(
        ArgumentTypeError,
        match=rf"^Greedy\.on_greedy takes \({takes}\), and what is passed is \({passed}\)\.\n"
        rf"Fix: take these arguments:\n    @staticmethod\n    @hookspec\n    def on_greedy\({passed}\): \.\.\.$",
    ):
        type("Greedy", (Event,), {"on_greedy": staticmethod(hookspec(spec))}, phased=phased)
    assert "on_greedy" not in known_events()


def test_what_inherits_from_an_event_is_an_event_of_its_own() -> None:
    class LateStepEnd(StepEnd):
        """After all others."""

    assert (LateStepEnd.hook, LateStepEnd.arguments) == ("on_late_step_end", ("learner", "phase"))
    assert StepEnd.hook == "on_step_end"
