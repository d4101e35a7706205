import copy
import itertools
import re

import numpy as np
import pytest
import torch
import treadle
from loguru import logger
from torch import nn
from treadle import (
    ArgumentTypeError,
    ArgumentValueError,
    Callback,
    CallbackConflictError,
    CallbackError,
    CancelFittingException,
    CustomCallback,
    DataError,
    EpochBegin,
    FitBegin,
    FitResult,
    Learner,
    LinearRunner,
    Operation,
    Phase,
    Plan,
    PropDict,
    ProtectedException,
    Read,
    StepEnd,
    ThreadedRunner,
    TrainingPhase,
    Write,
    epoch,
    fit,
    hookimpl,
    step,
    throttle,
    toy_learner,
)
from treadle.callback import unwrap
from treadle.events import Init
from treadle.ordering.handlers import known_hooks

BATCH = (torch.ones(2, 1), torch.ones(2, 1))


PROMISED = """
Learner PropDict fit epoch step run_epoch run_step FitResult Series TreadleError toy_learner
Phase AbstractTrainingPhase TrainingPhase AbstractValidationPhase ValidationPhase
Event EpochBegin EpochEnd StepBegin StepEnd LossBegin BackwardBegin BackwardEnd FitBegin FitEnd hookimpl
Callback Read Write accesses ProtectedException callback_graph CallbackConflictError
ConflictResolution NotDefined Unresolvable RunFirst NoConflict
CallbackRunner LinearRunner ThreadedRunner
FitException CancelStepException CancelEpochException CancelFittingException
CustomCallback ConditionalCallback CallbackCondition FrequencyThrottle TimeThrottle throttle
"""


def test_every_name_of_the_core_imports_from_treadle() -> None:
    assert sorted(treadle.__all__) == list(treadle.__all__)
    assert [name for name in treadle.__all__ if not hasattr(treadle, name)] == []
    assert set(re.findall(r"\w+", PROMISED)) <= set(treadle.__all__)
    from treadle.testing import toy_learner as toy

    assert toy is toy_learner


def test_a_learner_has_the_ancestors_fields() -> None:
    callback = Callback()
    learner = toy_learner(callback)
    assert type(learner.step) is type(learner.cbstate) is type(learner.data) is type(learner.params) is PropDict
    assert (dict(learner.step), dict(learner.cbstate), learner.callbacks) == ({}, {}, (callback,))
    assert (learner.lossfn, len(learner.data.training)) == (nn.functional.l1_loss, 16)
    assert learner.params["weight"] is learner.model.weight


def test_it_is_shown_with_its_model_and_callbacks() -> None:
    assert repr(toy_learner()) == "Learner(Linear; callbacks: none)"
    assert repr(toy_learner(Callback(), Callback())) == "Learner(Linear; callbacks: Callback, Callback)"


# fit.


def test_a_fit_says_what_was_done() -> None:
    assert toy_learner(nbatches=4).fit(3) == FitResult(epochs=3, steps=12, cancelled=None)


def test_a_fit_of_no_epochs_begins_and_ends() -> None:
    log = []

    class Watch(Callback):
        def on_fit_begin(self):
            log.append("begin")

        def on_fit_end(self):
            log.append("end")

    assert toy_learner(Watch()).fit(0) == FitResult(0, 0, None)
    assert Learner(nn.Linear(1, 1), print, use_default_callbacks=False).fit(0) == FitResult(0, 0, None)
    assert log == ["begin", "end"]


def test_fit_is_a_function_too() -> None:
    learner = toy_learner(nbatches=2)
    assert fit(learner, 1) == FitResult(1, 2, None)
    assert fit(learner, 1, (learner.data.training[:1],)) == FitResult(1, 1, None)


def test_a_fit_counts_what_it_did_itself() -> None:
    learner = toy_learner(nbatches=2)
    learner.fit(2)
    assert learner.fit(1) == FitResult(1, 2, None)


def test_a_cancelled_fit_is_not_an_error_and_has_the_callback_and_the_reason() -> None:
    class Stops(Callback):
        def on_step_end(self, phase: TrainingPhase):
            raise CancelFittingException("The loss is small enough.")

    stops = Stops()
    result = toy_learner(stops).fit(10)
    assert (result.epochs, result.steps, str(result.cancelled)) == (0, 1, "The loss is small enough.")
    assert result.cancelled.callback is stops


def test_a_cancel_that_no_callback_raised_has_none() -> None:
    class Stops(TrainingPhase):
        def step(self, learner, batch):
            raise CancelFittingException("by the phase")

    assert toy_learner().fit(1, phases=[Stops()]).cancelled.callback is None


def test_fit_learns() -> None:
    learner = toy_learner(coeff=-2.0, optimizer=lambda params: torch.optim.SGD(params, lr=0.001))
    learner.fit(5)
    assert learner.model.weight.item() == pytest.approx(-2.0, abs=0.1)


def test_data_that_are_passed_are_used_while_the_fit_runs() -> None:
    seen = []
    look = CustomCallback(lambda learner: seen.append(dict(learner.data)), EpochBegin, Phase, {"data": Read})
    learner = toy_learner(look, nbatches=2)
    before = learner.data
    passed = [BATCH] * 3
    assert learner.fit(1, (passed,)).steps == 3
    assert seen == [{"training": passed}]
    assert learner.data is before
    assert learner.fit(1, {"training": passed, "validation": passed, "other": [1]}).steps == 3
    assert len(seen) == 3


def test_data_that_are_passed_are_gone_also_after_an_error() -> None:
    class Raises(Callback):
        def on_step_end(self):
            raise ZeroDivisionError

    learner = toy_learner(Raises())
    before = learner.data
    with pytest.raises(ZeroDivisionError):
        learner.fit(1, ([BATCH],))
    assert learner.data is before


def test_the_number_of_epochs_may_come_from_numpy() -> None:
    assert toy_learner(nbatches=1).fit(np.int64(2)).epochs == 2


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (
            -1,
            ArgumentValueError,
            r"^n must be a whole number of at least 0, got -1\.\nFix: .*:\n    learner\.fit\(10\)$",
        ),
        (
            2.0,
            ArgumentTypeError,
            r"^n must be a whole number of at least 0, got 2\.0\.\nFix: .*:\n    learner\.fit\(10\)$",
        ),
        ("3", ArgumentTypeError, r"^n must be a whole number of at least 0, got '3'"),
        (None, ArgumentTypeError, r"^n must be a whole number of at least 0, got None"),
        (True, ArgumentTypeError, r"^n must be a whole number of at least 0, got True"),
    ],
)
def test_the_number_of_epochs_is_a_whole_number(n, error, message) -> None:
    log = []
    learner = toy_learner(CustomCallback(log.append, FitBegin))
    with pytest.raises(error, match=message):
        learner.fit(n)
    assert log == []
    assert learner.fit(1).steps == 16


def test_a_fit_without_data_is_refused_with_the_line_that_gives_them() -> None:
    learner = Learner(nn.Linear(1, 1), nn.functional.l1_loss, use_default_callbacks=False)
    with pytest.raises(
        DataError,
        match=r"TrainingPhase\(\) runs over learner\.data\.training.*\nFix: .*\n.*data=\{'training': data\}\)$",
    ):
        learner.fit(1)
    assert learner.fit(1, ([BATCH],)).steps == 1


# on_init.


class Initialised(Callback):
    """Counts its initialisations."""

    state_access = {"cbstate.log": Write}

    def __init__(self, name: str, *after: str) -> None:
        self.name, self.run_after, self.count = name, after, 0

    def on_init(self, learner):
        self.count += 1
        learner.cbstate.log = [*(learner.cbstate.log if "log" in learner.cbstate else []), self.name]


def test_on_init_runs_when_the_learner_is_made_in_the_order_of_the_callbacks() -> None:
    learner = toy_learner(Initialised("A", "B"), Initialised("B", "C"), Initialised("C"))
    assert learner.cbstate.log == ["C", "B", "A"]


def test_on_init_runs_again_when_the_callbacks_change_and_not_when_a_fit_begins() -> None:
    first = Initialised("A")
    learner = toy_learner(first)
    learner.fit(1)
    assert first.count == 1
    learner.add_callback(Callback())
    assert first.count == 2
    learner.set_callbacks([first])
    assert first.count == 3


def test_on_init_has_the_callbacks_permissions() -> None:
    class Sneaky(Callback):
        def on_init(self, learner):
            learner.cbstate.mine = 1

    with pytest.raises(
        ProtectedException, match=r'Sneaky writes `cbstate\.mine`.*\nFix: .*\n    "cbstate\.mine": Write'
    ) as raised:
        toy_learner(Sneaky())
    assert raised.value.__notes__ == ["Raised by Sneaky in on_init."]


def test_on_init_can_set_up_anything_declared() -> None:
    class Doubles(Callback):
        state_access = {"model": Write, "cbstate.ready": Write}

        def on_init(self, learner):
            learner.model = nn.Linear(1, 1, bias=False)
            learner.cbstate.ready = True

    learner = toy_learner(Doubles())
    assert learner.cbstate.ready
    assert learner.params["weight"] is learner.model.weight


# Changing the callbacks.


class Writer(Callback):
    state_access = {"cbstate.x": Write}

    def on_init(self, learner):
        learner.cbstate.x = 0

    def on_step_end(self, learner, phase: TrainingPhase):
        learner.cbstate.x += 1


class ChildWriter(Writer):
    """A kind of writer."""


class Reader(Callback):
    state_access = {"cbstate.x": Read}

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_step_end(self, learner, phase: TrainingPhase):
        self.seen.append(learner.cbstate.x)


def test_the_callbacks_are_kept_in_the_order_given() -> None:
    reader, writer = Reader(), Writer()
    assert toy_learner(reader, writer).callbacks == (reader, writer)
    assert list(toy_learner(writer, reader).callbacks) == [writer, reader]


def test_the_callbacks_can_only_be_changed_as_a_whole() -> None:
    learner = toy_learner()
    assert isinstance(learner.callbacks, tuple)
    with pytest.raises(
        CallbackError,
        match=r"^The callbacks of a learner cannot be set as an attribute\.\n"
        r"Fix: call the method:\n    learner\.set_callbacks\(\[\.\.\.\]\)$",
    ):
        learner.callbacks = (Callback(),)
    assert learner.callbacks == ()


def test_set_callbacks_replaces_all() -> None:
    learner = toy_learner(Callback())
    reader, writer = Reader(), Writer()
    assert learner.set_callbacks([reader, writer]) is None
    assert learner.callbacks == (reader, writer)
    learner.fit(1)
    assert reader.seen == list(range(1, 17))
    learner.set_callbacks([])
    assert learner.callbacks == ()


def test_add_callback_adds_one() -> None:
    reader, writer = Reader(), Writer()
    learner = toy_learner(writer)
    assert learner.add_callback(reader) is None
    assert learner.callbacks == (writer, reader)
    with pytest.raises(CallbackError, match=r"Reader is in the list twice, the same object"):
        learner.add_callback(reader)


def test_get_callback_finds_the_first_of_a_class() -> None:
    child, writer = ChildWriter(), throttle(Reader(), StepEnd, freq=2)
    learner = toy_learner(child, writer)
    assert learner.get_callback(ChildWriter) is learner.get_callback(Writer) is child
    assert learner.get_callback(Reader) is writer
    assert learner.get_callback(Initialised) is None


def test_replace_callback_puts_one_in_the_place_of_its_class() -> None:
    old, new = Writer(), Writer()
    reader = Reader()
    learner = toy_learner(old, reader)
    assert learner.replace_callback(new) is old
    assert learner.callbacks == (new, reader)
    assert learner.replace_callback(new) is new
    assert learner.callbacks == (new, reader)


def test_replace_callback_without_one_of_its_class_adds_it() -> None:
    learner, writer = toy_learner(), Writer()
    assert learner.replace_callback(writer) is None
    assert learner.callbacks == (writer,)


def test_replace_callback_looks_into_a_throttle() -> None:
    old, new = Reader(), throttle(Reader(), StepEnd, freq=2)
    learner = toy_learner(old, Writer())
    assert learner.replace_callback(new) is old
    assert learner.get_callback(Reader) is new


def test_a_callback_does_not_replace_another_if_it_is_there_itself() -> None:
    first, second = Reader(), Reader()
    learner = toy_learner(first, second, Writer())
    with pytest.raises(CallbackError, match="Reader is in the list twice"):
        learner.replace_callback(second)
    assert learner.callbacks[:2] == (first, second)


def test_remove_callback_removes_the_first_of_a_class() -> None:
    first, second, writer = Reader(), Reader(), Writer()
    learner = toy_learner(first, writer, second)
    assert learner.remove_callback(Reader) is first
    assert learner.callbacks == (writer, second)
    assert learner.remove_callback(Initialised) is None
    assert learner.callbacks == (writer, second)


@pytest.mark.parametrize("method", ["get_callback", "remove_callback"])
@pytest.mark.parametrize("cls", ["Reader", Callback(), int, None])
def test_these_take_a_class_of_callbacks(method, cls) -> None:
    with pytest.raises(
        CallbackError,
        match=r"^A callback is looked up by its class, got .*\nFix: .*:\n    learner\.get_callback\(Recorder\)$",
    ):
        getattr(toy_learner(), method)(cls)


# A change that is refused changes nothing.


class Fails(Callback):
    """Changes what it may, and fails."""

    state_access = {"cbstate": Write, "model": Write, "lossfn": Write}

    def on_init(self, learner):
        learner.cbstate.other = 1
        learner.cbstate.x = 99
        learner.model = nn.Linear(2, 2)
        learner.lossfn = print
        raise ZeroDivisionError


def snapshot(learner: Learner) -> tuple:
    return (
        learner.callbacks,
        learner.model,
        dict(learner.params),
        learner.lossfn,
        learner.optimizer,
        dict(learner.cbstate),
        dict(learner.step),
        str(learner.plan()),
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda learner: learner.remove_callback(Writer),
            CallbackConflictError,
            r"Reader reads `cbstate\.x`, and no callback",
        ),
        (
            lambda learner: learner.set_callbacks([Reader()]),
            CallbackConflictError,
            r"Reader reads `cbstate\.x`, and no callback",
        ),
        (
            lambda learner: learner.add_callback(ChildWriter()),
            CallbackConflictError,
            r"ChildWriter and Writer both write `cbst",
        ),
        (lambda learner: learner.replace_callback(ChildWriter()), CallbackConflictError, r"both write `cbstate\.x`"),
        (lambda learner: learner.add_callback(Writer), CallbackError, r"Writer is a class, not a Callback"),
        (lambda learner: learner.replace_callback(Writer), CallbackError, r"Writer is a class, not a Callback"),
        (
            lambda learner: learner.add_callback("no_such_plugin"),
            ImportError,
            r"There is no plugin called 'no_such_plugin'",
        ),
        (lambda learner: learner.set_callbacks([Fails()]), ZeroDivisionError, None),
    ],
    ids=["remove", "set", "add", "replace", "a class", "replace by a class", "a name", "on_init fails"],
)
def test_a_change_that_is_refused_changes_nothing(change, error, message) -> None:
    reader, writer = Reader(), Writer()
    learner = toy_learner(reader, writer, nbatches=2)
    learner.fit(1)
    before = snapshot(learner)
    with pytest.raises(error, match=message):
        change(learner)
    assert snapshot(learner) == before
    learner.fit(1)
    assert (learner.cbstate.x, reader.seen) == (4, [1, 2, 3, 4])


CHANGES = {
    "set_callbacks": lambda learner: learner.set_callbacks([]),
    "add_callback": lambda learner: learner.add_callback(Callback()),
    "replace_callback": lambda learner: learner.replace_callback(Writer()),
    "remove_callback": lambda learner: learner.remove_callback(Reader),
}
UNDER_WAY = {
    "fit": lambda learner: learner.fit(2),
    "epoch": lambda learner: epoch(learner, TrainingPhase()),
    "step": lambda learner: step(learner, TrainingPhase(), learner.data.training[0]),
}


@pytest.mark.parametrize("method", CHANGES)
@pytest.mark.parametrize("run", UNDER_WAY)
def test_the_callbacks_cannot_be_changed_while_something_is_under_way(run, method) -> None:
    def change(learner) -> None:
        refused.append(learner.progress.phase)
        with pytest.raises(
            CallbackError,
            match=rf"^learner\.{method} was called while a fit, an epoch or a step is under way; the callbacks, whose "
            r"order is worked out for all of it, stay as they are\.\nFix: call it before the fit or after it; to "
            r"switch a callback off for a while, wrap it:\n    ConditionalCallback\(callback, condition\)$",
        ):
            CHANGES[method](learner)

    def learner_with(do) -> Learner:
        made = toy_learner(Reader(), Writer(), Everywhere(), nbatches=2)
        doing.append(lambda: do(made))
        return made

    def handler(self) -> None:
        doing[-1]()

    @hookimpl(wrapper=True)
    def around(self):
        doing[-1]()
        result = yield
        doing[-1]()
        return result

    hooks = {hook.hook: hook for hook in known_hooks().values() if hook is not Init}
    handlers = {name: around if issubclass(hook, Operation) else handler for name, hook in hooks.items()}
    Everywhere = type("Everywhere", (Callback,), handlers)
    refused, doing = [], []
    undisturbed = learner_with(lambda learner: None)
    UNDER_WAY[run](undisturbed)
    learner = learner_with(change)
    UNDER_WAY[run](learner)
    assert len(refused) > 5
    assert learner.model.weight.item() == undisturbed.model.weight.item()
    assert learner.get_callback(Reader).seen == undisturbed.get_callback(Reader).seen
    CHANGES["remove_callback"](learner)
    assert learner.get_callback(Reader) is None


def test_a_change_takes_effect_at_once() -> None:
    log = []
    learner = toy_learner(CustomCallback(lambda learner: log.append(1), FitBegin))
    learner.fit(0)
    learner.set_callbacks([CustomCallback(lambda learner: log.append(2), FitBegin)])
    learner.fit(0)
    assert log == [1, 2]
    assert isinstance(learner.plan(), Plan)


def test_conflicts_are_raised_when_the_learner_is_made() -> None:
    with pytest.raises(CallbackConflictError, match="both write"):
        toy_learner(Writer(), ChildWriter())


# Guarantees.


def test_every_permutation_of_the_callbacks_gives_the_same_run() -> None:
    class Scale(Callback):
        """Writes what the loop uses; its effect depends on the order."""

        state_access = {"step.xs": Write}

        def __init__(self, name: str, by: float, plus: float, *after: str) -> None:
            self.name, self.by, self.plus, self.run_after = name, by, plus, after

        def on_step_begin(self, learner, phase: TrainingPhase):
            learner.step.xs = self.by * learner.step.xs + self.plus

    weights = set()
    for order in itertools.permutations([("a", 2.0, 1.0, "c"), ("b", 3.0, 0.5, "a"), ("c", 0.5, -1.0)]):
        learner = toy_learner(*[Scale(*arguments) for arguments in order])
        learner.fit(2)
        weights.add(learner.model.weight.item())
    assert len(weights) == 1


def test_a_callback_that_only_watches_changes_no_bit_of_the_weights() -> None:
    class Watches(Callback):
        state_access = {"step": Read, "model": Read, "params": Read, "data": Read, "cbstate.seen": Write}

        def on_step_end(self, learner):
            learner.cbstate.seen = [learner.step.loss.item(), learner.model.weight.sum().item()]

    plain, watched = toy_learner(), toy_learner(Watches())
    plain.fit(3)
    watched.fit(3)
    assert torch.equal(plain.model.weight, watched.model.weight)


# Copies.


class Tallies(Callback):
    """Counts for itself and for others."""

    state_access = {"cbstate.tally": Write, "step.loss": Read}

    def __init__(self) -> None:
        self.count = 0

    def on_init(self, learner):
        learner.cbstate.tally = 0

    def on_step_end(self, learner, phase: TrainingPhase):
        self.count += 1
        learner.cbstate.tally += 1


@pytest.mark.parametrize("runner", [LinearRunner, ThreadedRunner])
@pytest.mark.parametrize("wrap", [lambda callback: callback, lambda callback: throttle(callback, StepEnd, freq=1)])
def test_a_copy_of_a_learner_has_callbacks_and_state_of_its_own(runner, wrap) -> None:
    learner = toy_learner(wrap(Tallies()), runner=runner(), nbatches=4)
    learner.fit(1)
    other = copy.deepcopy(learner)
    other.fit(1)
    assert (learner.cbstate.tally, other.cbstate.tally) == (4, 8)
    assert [unwrap(one.get_callback(Tallies)).count for one in (learner, other)] == [4, 8]
    assert learner.model.weight.item() != other.model.weight.item()
    learner.fit(1)
    assert torch.equal(learner.model.weight, other.model.weight)
    assert str(learner.plan()) == str(other.plan())


def test_a_copy_does_not_initialise_its_callbacks_again() -> None:
    first = Initialised("A")
    learner = toy_learner(first)
    copied = copy.deepcopy(learner)
    assert (copied.get_callback(Initialised).count, copied.cbstate.log) == (1, ["A"])


# After an error the learner is as it was.


class Faulty(nn.Linear):
    """Fails on request."""

    fails = False

    def forward(self, xs):
        if self.fails:
            raise ZeroDivisionError
        return super().forward(xs)


@pytest.mark.parametrize("fault", ["model", "batch", "loss", "empty", "epochs"])
def test_after_an_error_a_fit_goes_on_from_where_the_learner_was(fault) -> None:
    torch.manual_seed(0)
    model = Faulty(1, 1)
    model.eval()
    learner = Learner(model, nn.functional.l1_loss, data=([BATCH],), use_default_callbacks=False)
    learner.model.train()
    before = model.weight.detach().clone(), model.bias.detach().clone()
    model.fails = fault == "model"
    learner.lossfn = (lambda yhats, ys: yhats) if fault == "loss" else nn.functional.l1_loss
    data = {"batch": ([3],), "empty": (iter([]),)}.get(fault)
    with pytest.raises((ZeroDivisionError, treadle.TreadleError)):
        learner.fit(-1 if fault == "epochs" else 1, data)
    assert torch.equal(model.weight, before[0])
    assert torch.equal(model.bias, before[1])
    assert (model.training, torch.is_grad_enabled(), learner.progress.phase) == (True, True, None)
    model.fails, learner.lossfn = False, nn.functional.l1_loss
    assert learner.fit(1) == FitResult(1, 1, None)


def test_a_model_that_no_optimizer_holds_is_warned_about_before_training() -> None:
    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(message.record["message"]), level="WARNING")
    try:
        learner = toy_learner()
        learner.fit(1)
        learner.model = nn.Linear(1, 1)
        learner.fit(1)
    finally:
        logger.remove(sink)
    assert messages == [
        "No optimizer holds a parameter of the model, so the model stays as it is.\n"
        "Fix: after setting a new model, make a new optimizer:\n"
        "    learner.optimizer = torch.optim.Adam(learner.model.parameters())"
    ]
