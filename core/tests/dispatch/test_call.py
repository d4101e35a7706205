import pytest
from torch import nn
from treadle import (
    ArgumentTypeError,
    Callback,
    CallbackCondition,
    CancelFittingException,
    ConditionalCallback,
    LinearRunner,
    Operation,
    StepEnd,
    ThreadedRunner,
    TrainingPhase,
    ValidationPhase,
    epoch,
    hookimpl,
    step,
    toy_learner,
)

BATCH = toy_learner().data.training[0]


class Always(CallbackCondition):
    """Notes that it is asked, and returns always the same."""

    def __init__(self, name, met, log) -> None:
        self.name, self.met, self.log = name, met, log

    def should_run(self, event, phase):
        self.log.append((self.name, event.__name__, phase))
        return self.met


class Logs(Callback):
    def __init__(self, log) -> None:
        self.log = log

    def on_init(self):
        self.log.append("init")

    def on_step_end(self, phase: TrainingPhase):
        self.log.append("ran")


# A call and its arguments.


def test_a_call_is_called_without_arguments_and_knows_its_handler() -> None:
    class Asks(Callback):
        def on_step_end(self, phase, learner):
            seen.append((phase, learner.progress.steps))
            return 3

    seen, phase = [], TrainingPhase()
    asks = Asks()
    (call,) = toy_learner(asks)._dispatcher.calls(StepEnd, phase)
    assert call() == 3
    assert seen == [(phase, 0)]
    assert (call.callback, call.hook, call.names, call.wrapper) == (asks, StepEnd, ("phase", "learner"), False)


class Scale(Operation):
    """Scale by a factor and a power."""

    @staticmethod
    def run(learner, phase, factor, power):
        return factor**power


def test_an_operations_arguments_stand_in_the_handlers_order() -> None:
    class Asks(Callback):
        def scale(self, power, phase, factor):
            seen.append((power, phase, factor))

    seen, phase = [], TrainingPhase()
    learner = toy_learner(Asks())
    assert learner.handle(phase)(Scale, 3, 2) == 9
    assert seen == [(2, phase, 3)]


# Conditions.


@pytest.mark.parametrize("met", [True, False])
def test_a_condition_is_asked_before_the_handler_and_not_before_on_init(met) -> None:
    log, phase = [], TrainingPhase()
    step(toy_learner(ConditionalCallback(Logs(log), Always("c", met, log))), phase, BATCH)
    assert log == ["init", ("c", "StepEnd", phase), *(["ran"] if met else [])]


@pytest.mark.parametrize(("outer", "inner"), [(True, True), (True, False), (False, True)])
def test_an_inner_condition_is_asked_only_if_the_outer_one_is_met(outer, inner) -> None:
    log: list[object] = []
    guarded = ConditionalCallback(ConditionalCallback(Logs(log), Always("in", inner, log)), Always("out", outer, log))
    step(toy_learner(guarded), TrainingPhase(), BATCH)
    asked = [entry[0] for entry in log if isinstance(entry, tuple)]
    assert asked == (["out", "in"] if outer else ["out"])
    assert ("ran" in log) == (outer and inner)


def test_a_condition_gets_the_phase_that_is_under_way() -> None:
    log: list[object] = []
    learner = toy_learner(ConditionalCallback(Logs(log), Always("c", False, log)))
    phases = [TrainingPhase(), TrainingPhase()]
    for phase in phases:
        step(learner, phase, BATCH)
    assert [id(phase) for _, _, phase in log[1:]] == [id(phase) for phase in phases]


@pytest.mark.parametrize("met", [True, False])
@pytest.mark.parametrize("error", [None, ValueError("x"), StopIteration("x"), KeyboardInterrupt("x")])
def test_a_wrapper_inside_of_a_condition_passes_on_results_and_exceptions(met, error) -> None:
    class Ring(Callback):
        @hookimpl(wrapper=True)
        def scale(self):
            log.append("in")
            try:
                return (yield)
            finally:
                log.append("out")

    class Inside(Callback):
        def scale(self):
            if error is not None:
                raise error
            return 5

    log: list[str] = []
    learner = toy_learner(ConditionalCallback(Ring(), Always("c", met, [])), Inside())
    scale = learner.handle(TrainingPhase())[Scale]
    if error is None:
        assert scale(1, 1) == 5
    else:
        with pytest.raises(type(error)) as raised:
            scale(1, 1)
        assert raised.value is error
        assert len(error.__notes__) == 1
        del error.__notes__
    assert log == (["in", "out"] if met else [])


def test_an_error_of_a_condition_is_attributed_to_its_callback() -> None:
    class Breaks(CallbackCondition):
        def should_run(self, event, phase):
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken") as raised:
        toy_learner(ConditionalCallback(Logs([]), Breaks())).fit(1)
    assert raised.value.__notes__ == ["Raised by Logs in on_step_end, TrainingPhase, epoch 1, step 1."]


# Notes on exceptions.


def test_the_note_outside_of_all_phases_names_no_place_in_the_loop() -> None:
    class Breaks(Callback):
        def on_fit_begin(self):
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken") as raised:
        toy_learner(Breaks()).fit(1)
    assert raised.value.__notes__ == ["Raised by Breaks in on_fit_begin."]


def test_a_cancel_knows_its_callback_once() -> None:
    class Stops(Callback):
        def on_step_end(self):
            raise CancelFittingException("enough")

    stops = Stops()
    (call,) = toy_learner(stops)._dispatcher.calls(StepEnd, TrainingPhase())
    cancel = CancelFittingException("enough")
    call.annotate(cancel)
    call.annotate(cancel)
    assert cancel.callback is stops
    assert cancel.__notes__ == ["Raised by Stops in on_step_end, TrainingPhase, epoch 0, step 0."]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, CancelFittingException])
@pytest.mark.parametrize("runner", [LinearRunner, ThreadedRunner])
def test_of_loops_inside_of_each_other_one_note_names_the_callback_that_raised_and_its_place(
    kind, depth, runner
) -> None:
    class Level(Callback):
        def __init__(self, level) -> None:
            self.level, self.name = level, f"Level{level}"
            self.inner = None if level == depth else toy_learner(Level(level + 1), Wraps(), Callback(), runner=runner())

        def on_step_end(self, phase: ValidationPhase):
            if self.inner is None:
                raise error
            epoch(self.inner, ValidationPhase())

    class Wraps(Callback):
        @hookimpl(wrapper=True)
        def step(self):
            return (yield)

    error = kind("broken")
    with pytest.raises(kind) as raised:
        epoch(toy_learner(Level(1), Wraps(), runner=runner()), ValidationPhase())
    assert raised.value is error
    assert error.__notes__ == [f"Raised by Level{depth} in on_step_end, ValidationPhase, epoch 0, step 1."]


def test_of_an_error_that_no_callback_raised_the_notes_say_where_and_who_ran_that_loop() -> None:
    class Breaks(nn.Linear):
        def forward(self, xs):
            raise ValueError("broken")

    class Runs(Callback):
        def on_step_end(self, phase: TrainingPhase):
            epoch(broken, ValidationPhase())

    broken = toy_learner()
    broken.model = Breaks(1, 1)
    with pytest.raises(ValueError, match="broken") as raised:
        toy_learner(Runs()).fit(1)
    assert raised.value.__notes__ == [
        "The model Breaks was called with xs: a tensor of shape (8, 1), float32.",
        "Raised in ValidationPhase, epoch 0, step 1.",
        "Raised by Runs in on_step_end, TrainingPhase, epoch 1, step 1.",
    ]


# What is passed beside learner and phase.


class Overrides(Callback):
    def scale(self, factor, power):
        return factor


class WrapsIt(Callback):
    @hookimpl(wrapper=True)
    def scale(self):
        return (yield)


@pytest.mark.parametrize("callbacks", [[], [Overrides], [WrapsIt], [WrapsIt, Overrides]])
@pytest.mark.parametrize("passed", [(), (1,), (1, 2, 3)])
def test_a_wrong_number_of_arguments_of_an_operation_is_refused_with_their_names(callbacks, passed) -> None:
    learner = toy_learner(*(cls() for cls in callbacks))
    count = "1 was" if len(passed) == 1 else f"{len(passed)} were"
    with pytest.raises(
        ArgumentTypeError,
        match=rf"^`scale` takes 2 arguments beside learner and phase \(factor, power\), and {count} passed\.\n"
        r"Fix: pass them in this order:\n    handle\(Scale, factor, power\)$",
    ):
        learner.handle(TrainingPhase())(Scale, *passed)


@pytest.mark.parametrize("handled", [True, False])
def test_an_event_takes_no_arguments(handled) -> None:
    learner = toy_learner(*([Logs([])] if handled else []))
    with pytest.raises(
        ArgumentTypeError,
        match=r"^`on_step_end` takes no arguments beside learner and phase, and 1 was passed\.\n"
        r"Fix: pass none; what handlers need to know stands in the step's state:\n    handle\(StepEnd\)$",
    ):
        learner.handle(TrainingPhase())(StepEnd, 3)
