"""Bad input of throttles, declarations, plugins and the helpers for authors: each is a typed error."""

import math

import pytest
from treadle import (
    Callback,
    CallbackCondition,
    ConditionalCallback,
    EpochEnd,
    FrequencyThrottle,
    PropDict,
    Read,
    StepEnd,
    ThreadedRunner,
    TimeThrottle,
    TrainingPhase,
    TreadleError,
    accesses,
    throttle,
    toy_learner,
)
from treadle.authoring import (
    DeviceNumber,
    by_unique_name,
    capture_run,
    handlers,
    handles,
    map_tensors,
    named_tensors,
    overlaps,
    pair_of,
    phase_key,
    plan_of,
    position_of,
    preserved_state,
    preview,
    refuse_unsaveable_model,
    refuse_unsaveable_run,
    writers_for,
)
from treadle.plugins import find, installed


class Hears(Callback):
    def on_step_end(self): ...


def of_condition(**attributes) -> None:
    condition = type("Mine", (CallbackCondition,), {"should_run": lambda self, event, phase: True} | attributes)()
    toy_learner(ConditionalCallback(Hears(), condition)).fit(1)


def named_tensors_of(state) -> list:
    return list(named_tensors(state))


BAD = {
    "throttle(None, StepEnd, freq=2)": (lambda: throttle(None, StepEnd, freq=2), "is not a Callback"),
    "throttle(3, StepEnd, freq=2)": (lambda: throttle(3, StepEnd, freq=2), "is not a Callback"),
    "throttle([], StepEnd, freq=2)": (lambda: throttle([], StepEnd, freq=2), "is not a Callback"),
    "throttle(Callback, StepEnd, freq=2)": (lambda: throttle(Callback, StepEnd, freq=2), "is not a Callback"),
    "throttle(Hears(), None, freq=2)": (lambda: throttle(Hears(), None, freq=2), "event must be"),
    "FrequencyThrottle(2, None)": (lambda: FrequencyThrottle(2, None), "event must be"),
    "throttle(Hears(), 3, freq=2)": (lambda: throttle(Hears(), 3, freq=2), "event must be"),
    "FrequencyThrottle(2, 3)": (lambda: FrequencyThrottle(2, 3), "event must be"),
    "throttle(Hears(), 'on_step_end', freq=2)": (lambda: throttle(Hears(), "on_step_end", freq=2), "event must be"),
    "FrequencyThrottle(2, 'on_step_end')": (lambda: FrequencyThrottle(2, "on_step_end"), "event must be"),
    "throttle(Hears(), StepEnd(), freq=2)": (lambda: throttle(Hears(), StepEnd(), freq=2), "event must be"),
    "FrequencyThrottle(2, StepEnd())": (lambda: FrequencyThrottle(2, StepEnd()), "event must be"),
    "throttle(Hears(), TrainingPhase, freq=2)": (lambda: throttle(Hears(), TrainingPhase, freq=2), "event must be"),
    "FrequencyThrottle(2, TrainingPhase)": (lambda: FrequencyThrottle(2, TrainingPhase), "event must be"),
    "throttle(Hears(), StepEnd, freq=0)": (lambda: throttle(Hears(), StepEnd, freq=0), "freq must be a whole number"),
    "throttle(Hears(), StepEnd, freq=-1)": (lambda: throttle(Hears(), StepEnd, freq=-1), "freq must be a whole number"),
    "throttle(Hears(), StepEnd, freq=1.5)": (
        lambda: throttle(Hears(), StepEnd, freq=1.5),
        "freq must be a whole number",
    ),
    "throttle(Hears(), StepEnd, freq=True)": (
        lambda: throttle(Hears(), StepEnd, freq=True),
        "freq must be a whole number",
    ),
    "throttle(Hears(), StepEnd, freq='x')": (
        lambda: throttle(Hears(), StepEnd, freq="x"),
        "freq must be a whole number",
    ),
    "throttle(Hears(), StepEnd, freq=math.nan)": (
        lambda: throttle(Hears(), StepEnd, freq=math.nan),
        "freq must be a whole number",
    ),
    "throttle(Hears(), StepEnd, freq=[])": (lambda: throttle(Hears(), StepEnd, freq=[]), "freq must be a whole number"),
    "throttle(Hears(), StepEnd, seconds=-1)": (
        lambda: throttle(Hears(), StepEnd, seconds=-1),
        "seconds must be a number",
    ),
    "throttle(Hears(), StepEnd, seconds=True)": (
        lambda: throttle(Hears(), StepEnd, seconds=True),
        "seconds must be a number",
    ),
    "throttle(Hears(), StepEnd, seconds='x')": (
        lambda: throttle(Hears(), StepEnd, seconds="x"),
        "seconds must be a number",
    ),
    "throttle(Hears(), StepEnd, seconds=math.nan)": (
        lambda: throttle(Hears(), StepEnd, seconds=math.nan),
        "seconds must be a number",
    ),
    "throttle(Hears(), StepEnd, seconds=[])": (
        lambda: throttle(Hears(), StepEnd, seconds=[]),
        "seconds must be a number",
    ),
    "throttle(Hears(), StepEnd)": (lambda: throttle(Hears(), StepEnd), "needs freq or seconds"),
    "throttle(Hears(), StepEnd, freq=2, seconds=2)": (
        lambda: throttle(Hears(), StepEnd, freq=2, seconds=2),
        "needs freq or seconds",
    ),
    "throttle(Hears(), EpochEnd, freq=2)": (lambda: throttle(Hears(), EpochEnd, freq=2), "has no `on_epoch_end`"),
    "ConditionalCallback(Hears(), None)": (lambda: ConditionalCallback(Hears(), None), "condition must be"),
    "ConditionalCallback(Hears(), 3)": (lambda: ConditionalCallback(Hears(), 3), "condition must be"),
    "ConditionalCallback(Hears(), CallbackCondition)": (
        lambda: ConditionalCallback(Hears(), CallbackCondition),
        "condition must be",
    ),
    "ConditionalCallback(Hears(), lambda: True)": (
        lambda: ConditionalCallback(Hears(), lambda: True),
        "condition must be",
    ),
    "TimeThrottle(2, StepEnd, clock=3)": (lambda: TimeThrottle(2, StepEnd, clock=3), "clock "),
    "TimeThrottle(2, StepEnd, clock=None)": (lambda: TimeThrottle(2, StepEnd, clock=None), "clock "),
    "TimeThrottle(2, StepEnd, clock=lambda a, b: 0)": (
        lambda: TimeThrottle(2, StepEnd, clock=lambda a, b: 0),
        "clock ",
    ),
    "of_condition(event=3)": (lambda: of_condition(event=3), "event of a condition must be"),
    "of_condition(event=StepEnd())": (lambda: of_condition(event=StepEnd()), "event of a condition must be"),
    "of_condition(should_run=lambda self, event, phase: None)": (
        lambda: of_condition(should_run=lambda self, event, phase: None),
        "should_run returned None",
    ),
    "accesses(None, Read)": (lambda: accesses(None, Read), "is not a Callback"),
    "accesses(Hears(), None)": (lambda: accesses(Hears(), None), "is not a permission"),
    "handlers(None)": (lambda: handlers(None), "callback must be an instance of Callback"),
    "handles(None, StepEnd)": (lambda: handles(None, StepEnd), "callback must be an instance of Callback"),
    "preview(None)": (lambda: preview(None), "callbacks must be a list"),
    "pair_of(None, Hears())": (lambda: pair_of(None, Hears()), "None is not a Callback"),
    "writers_for(Hears(), [])": (lambda: writers_for(Hears(), []), "callbacks must be"),
    "writers_for([], [3])": (lambda: writers_for([], [3]), r"candidates\[0\] must be"),
    "plan_of(None)": (lambda: plan_of(None), "must be an instance of Learner"),
    "position_of(None)": (lambda: position_of(None), "must be an instance of Learner"),
    "capture_run(None)": (lambda: capture_run(None), "must be an instance of Learner"),
    "refuse_unsaveable_run(None)": (lambda: refuse_unsaveable_run(None), "must be an instance of Learner"),
    "accesses(3, Read)": (lambda: accesses(3, Read), "is not a Callback"),
    "accesses(Hears(), 3)": (lambda: accesses(Hears(), 3), "is not a permission"),
    "handlers(3)": (lambda: handlers(3), "callback must be an instance of Callback"),
    "handles(3, StepEnd)": (lambda: handles(3, StepEnd), "callback must be an instance of Callback"),
    "handles(Hears(), StepEnd, 3)": (lambda: handles(Hears(), StepEnd, 3), "is not a phase"),
    "position_of(3)": (lambda: position_of(3), "must be an instance of Learner"),
    "capture_run(3)": (lambda: capture_run(3), "must be an instance of Learner"),
    "refuse_unsaveable_run(3)": (lambda: refuse_unsaveable_run(3), "must be an instance of Learner"),
    "accesses('model', Read)": (lambda: accesses("model", Read), "is not a Callback"),
    "accesses(Hears(), 'model')": (lambda: accesses(Hears(), "model"), "is not a permission"),
    "handlers('model')": (lambda: handlers("model"), "callback must be an instance of Callback"),
    "handles('model', StepEnd)": (lambda: handles("model", StepEnd), "callback must be an instance of Callback"),
    "handles(Hears(), StepEnd, 'model')": (lambda: handles(Hears(), StepEnd, "model"), "is not a phase"),
    "position_of('model')": (lambda: position_of("model"), "must be an instance of Learner"),
    "capture_run('model')": (lambda: capture_run("model"), "must be an instance of Learner"),
    "refuse_unsaveable_run('model')": (lambda: refuse_unsaveable_run("model"), "must be an instance of Learner"),
    "handles(Hears(), 3)": (lambda: handles(Hears(), 3), "is not an event or an operation"),
    "handles(Hears(), [])": (lambda: handles(Hears(), []), "is not an event or an operation"),
    "handles(Hears(), 'on_step_ends')": (lambda: handles(Hears(), "on_step_ends"), "is not an event or an operation"),
    "named_tensors_of(3)": (lambda: named_tensors_of(3), "A mapping of names"),
    "named_tensors_of([3])": (lambda: named_tensors_of([3]), "A mapping of names"),
    "named_tensors_of(object())": (lambda: named_tensors_of(object()), "A mapping of names"),
    "map_tensors(batch, f)": (lambda: map_tensors({"x": 1}, float), "f must be a function"),
    "DeviceNumber(print)": (lambda: DeviceNumber(print), "is of a number or of a tensor"),
    "DeviceNumber('loss')": (lambda: DeviceNumber("loss"), "is of a number or of a tensor"),
    "by_unique_name(3)": (lambda: by_unique_name(3), "A list of things with names is needed"),
    "by_unique_name([3])": (lambda: by_unique_name([3]), "What is numbered by its name needs one"),
    "by_unique_name('model')": (lambda: by_unique_name("model"), "What is numbered by its name needs one"),
    "preserved_state(3)": (lambda: preserved_state(3).__enter__(), "holders must be a list"),
    "preserved_state([], 3)": (lambda: preserved_state([], 3).__enter__(), "loaders must be a list"),
    "phase_key(Callback)": (lambda: phase_key(Callback), "The phase must be Phase or a subclass of it"),
    "refuse_unsaveable_model(3)": (lambda: refuse_unsaveable_model(3), "A model is a module or a mapping"),
    "overlaps(None, 'step')": (lambda: overlaps(None, "step"), "A path is a text"),
    "overlaps('step', 3)": (lambda: overlaps("step", 3), "A path is a text"),
    "PropDict(3)": (lambda: PropDict(3), "made of a mapping"),
    "PropDict('ab')": (lambda: PropDict("ab"), "made of a mapping"),
    "PropDict([1])": (lambda: PropDict([1]), "made of a mapping"),
    "PropDict({3: 1})": (lambda: PropDict({3: 1}), "must be texts"),
    "PropDict({None: 1})": (lambda: PropDict({None: 1}), "must be texts"),
    "ThreadedRunner(0)": (lambda: ThreadedRunner(0), "max_workers must be a whole number"),
    "ThreadedRunner(-1)": (lambda: ThreadedRunner(-1), "max_workers must be a whole number"),
    "ThreadedRunner(1.5)": (lambda: ThreadedRunner(1.5), "max_workers must be a whole number"),
    "ThreadedRunner('x')": (lambda: ThreadedRunner("x"), "max_workers must be a whole number"),
    "ThreadedRunner(None)": (lambda: ThreadedRunner(None), "max_workers must be a whole number"),
    "ThreadedRunner(True)": (lambda: ThreadedRunner(True), "max_workers must be a whole number"),
    "installed('treadle.callback')": (lambda: installed("treadle.callback"), "group has an invalid value"),
    "installed(3)": (lambda: installed(3), "group has an invalid value"),
    "installed('')": (lambda: installed(""), "group has an invalid value"),
    "find(None)": (lambda: find(None), "no plugin called"),
    "find(3)": (lambda: find(3), "no plugin called"),
    "find('recoder')": (lambda: find("recoder"), "no plugin called"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_a_typed_error_that_names_the_thing_and_the_fix(make, message):
    with pytest.raises(TreadleError, match=message) as caught:
        make()
    assert "Fix: " in str(caught.value)
