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
    BackwardEnd,
    Callback,
    CallbackConflictError,
    CallbackError,
    CancelFittingException,
    CustomCallback,
    DataError,
    EpochBegin,
    EpochEnd,
    FitBegin,
    FitEnd,
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
    TreadleError,
    ValidationPhase,
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
        (None, ArgumentTypeError, r"^fit needs a length: a number of epochs, or of steps\.\nFix: write one of:\n"),
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


PLACES = [
    (FitBegin, Phase),
    (FitEnd, Phase),
    (BackwardEnd, TrainingPhase),
    *[(event, phase) for event in (EpochBegin, StepEnd, EpochEnd) for phase in (TrainingPhase, ValidationPhase)],
]


@pytest.mark.parametrize(("event", "phase"), PLACES)
def test_in_a_copy_nothing_is_under_way_wherever_it_was_made(event, phase) -> None:
    copies: list[Learner] = []
    learner = toy_learner(nbatches=4)
    learner.set_callbacks([CustomCallback(lambda _: copies.append(copy.deepcopy(learner)), event, phase)])
    learner.fit(1)
    copied = copies[0]
    assert (copied.progress.phase, copied.progress.step, copied.position.length) == (None, 0, None)
    assert not any(getattr(value, "grad_fn", None) for value in copied.step.values())
    state = step(copied, ValidationPhase(), copied.data.validation[0])  # a phase that is under way in the original
    assert not state.yhats.requires_grad
    state = step(copied, TrainingPhase(), copied.data.training[0])
    assert state.yhats.requires_grad
    assert (learner.progress.steps, torch.is_grad_enabled()) == (4, True)


def test_a_learner_whose_last_step_was_one_of_training_can_be_copied() -> None:
    learner = toy_learner(nbatches=4)
    learner.fit(1, phases=[TrainingPhase()])
    copied = copy.deepcopy(learner)
    assert copied.step.loss == learner.step.loss
    assert learner.step.loss.grad_fn is not None
    assert [one.fit(1).steps for one in (learner, copied)] == [4, 4]
    assert torch.equal(learner.model.weight, copied.model.weight)


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


# Bad input: each is a typed error that names the thing and the fix.

ROWS = torch.utils.data.TensorDataset(torch.ones(4, 1), torch.ones(4, 1))


def made(**arguments) -> Learner:
    arguments = {"model": nn.Linear(1, 1), "lossfn": nn.functional.mse_loss, "data": ([BATCH], [BATCH]), **arguments}
    return Learner(arguments.pop("model"), arguments.pop("lossfn"), use_default_callbacks=False, **arguments)


def set_to(name, value) -> FitResult:
    learner = made()
    setattr(learner, name, value)
    return learner.fit(1)


def of_data(name, value) -> FitResult:
    learner = made()
    learner.data[name] = value
    return learner.fit(1)


class First(Callback):
    state_access = {"cbstate.mine": Write}

    def on_step_end(self): ...


class Second(First): ...


BAD = {
    "Learner(model=None)": (lambda: made(model=None), "got a NoneType"),
    "Learner(model=3)": (lambda: made(model=3), "got a int"),
    "Learner(model='linear')": (lambda: made(model="linear"), "got a str"),
    "Learner(model=[nn.Linear(1, 1)])": (lambda: made(model=[nn.Linear(1, 1)]), "got a list"),
    "Learner(model=nn.Linear)": (lambda: made(model=nn.Linear), "got the class Linear"),
    "Learner(model=nn.ReLU()).fit(1)": (lambda: made(model=nn.ReLU()).fit(1), "The model ReLU has no parameters"),
    "Learner(model={})": (lambda: made(model={}), "must map names to modules, got \\{\\}"),
    "Learner(model={'a': 3})": (lambda: made(model={"a": 3}), "must map names to modules"),
    "Learner(model={3: nn.Linear(1, 1)})": (lambda: made(model={3: nn.Linear(1, 1)}), "must map names to modules"),
    "Learner(model={'a': nn.Linear})": (lambda: made(model={"a": nn.Linear}), "must map names to modules"),
    "Learner(lossfn=None).fit(1)": (lambda: made(lossfn=None).fit(1), "The learner has no loss function"),
    "Learner(split=3)": (lambda: made(split=3), "split must be a function, got 3"),
    "Learner(split=lambda: 3)": (
        lambda: made(split=lambda: 3),
        r"split is called with \(batch\), and <lambda> takes \(\)",
    ),
    "Learner(lossfn=3)": (lambda: made(lossfn=3), "lossfn must be a function, got 3"),
    "Learner(lossfn=nn.MSELoss)": (lambda: made(lossfn=nn.MSELoss), "got the class MSELoss"),
    "Learner(lossfn='mse')": (lambda: made(lossfn="mse"), "got 'mse'"),
    "Learner(lossfn takes one)": (
        lambda: made(lossfn=lambda yhats: yhats.mean()).fit(1),
        "is called with \\(yhats, ys\\), and takes \\(yhats\\)",
    ),
    "Learner(lossfn takes three)": (
        lambda: made(lossfn=lambda a, b, c: a.mean()).fit(1),
        "is called with \\(yhats, ys\\), and takes \\(a, b, c\\)",
    ),
    "lossfn returns None": (lambda: made(lossfn=lambda yhats, ys: None).fit(1), "returned None; a loss is one number"),
    "lossfn returns 3.0": (lambda: made(lossfn=lambda yhats, ys: 3.0).fit(1), "returned 3.0"),
    "lossfn returns 'x'": (lambda: made(lossfn=lambda yhats, ys: "x").fit(1), "returned 'x'"),
    "lossfn returns torch.ones(2)": (
        lambda: made(lossfn=lambda yhats, ys: torch.ones(2)).fit(1),
        "a tensor of shape \\(2,\\)",
    ),
    "lossfn returns torch.ones(0)": (
        lambda: made(lossfn=lambda yhats, ys: torch.ones(0)).fit(1),
        "a tensor of shape \\(0,\\)",
    ),
    "lossfn returns torch.tensor(1.0)": (
        lambda: made(lossfn=lambda yhats, ys: torch.tensor(1.0)).fit(1),
        "needs no gradient",
    ),
    "Learner(data=None)": (lambda: made(data=None), "got a NoneType"),
    "Learner(data=3)": (lambda: made(data=3), "got a int"),
    "Learner(data=[1, 2, 3])": (lambda: made(data=[1, 2, 3]), "got a list of 3"),
    "Learner(data=ROWS)": (lambda: made(data=ROWS), "got a TensorDataset"),
    "Learner(data=(ROWS,))": (
        lambda: made(data=(ROWS,)),
        "data\\.training needs an iterable of batches, got a TensorDataset, a data set",
    ),
    "Learner(data=([BATCH], ROWS))": (lambda: made(data=([BATCH], ROWS)), "data\\.validation .* a data set"),
    "Learner(data=(torch.utils.data.Subset(ROWS, [0]),))": (
        lambda: made(data=(torch.utils.data.Subset(ROWS, [0]),)),
        "got a Subset, a data set",
    ),
    "Learner(data=(3,))": (lambda: made(data=(3,)), "data\\.training needs an iterable of batches, got 3"),
    "Learner(data=(None,))": (lambda: made(data=(None,)), "data\\.training .* got None"),
    "Learner(data=(list,))": (lambda: made(data=(list,)), "data\\.training .* got <class 'list'>"),
    "Learner(data=([],))": (lambda: made(data=([],)), "data\\.training got no batch from list"),
    "Learner(data=([BATCH], []))": (lambda: made(data=([BATCH], [])), "data\\.validation got no batch"),
    "Learner(data={3: [BATCH]})": (lambda: made(data={3: [BATCH]}), "The names of data must be texts, got \\[3\\]"),
    "Learner(data=torch.ones(2))": (lambda: made(data=torch.ones(2)), "got a Tensor"),
    "Learner(data=lambda: [BATCH])": (lambda: made(data=lambda: [BATCH]), "got a function"),
    "fit(1, (3,))": (lambda: made().fit(1, (3,)), "needs an iterable of batches, got 3"),
    "fit(1, (ROWS,))": (lambda: made().fit(1, (ROWS,)), "a data set, whose items are rows"),
    "fit(1, 3)": (lambda: made().fit(1, 3), "got a int"),
    "fit(1, ([],))": (lambda: made().fit(1, ([],)), "got no batch from list"),
    "a batch 3": (lambda: made(data=([3],)).fit(1), "needs batches that are pairs .*, got a int"),
    "a batch None": (lambda: made(data=([None],)).fit(1), "got a NoneType"),
    "a batch 'ab'": (lambda: made(data=(["ab"],)).fit(1), "got a str"),
    "a batch torch.ones(2, 1)": (lambda: made(data=([torch.ones(2, 1)],)).fit(1), "got a Tensor of shape \\(2, 1\\)"),
    "a batch (1, 2, 3)": (lambda: made(data=([(1, 2, 3)],)).fit(1), "got a tuple of 3"),
    "a batch [1]": (lambda: made(data=([[1]],)).fit(1), "got a list of 1"),
    "a batch {'xs': 1, 'ys': 2}": (lambda: made(data=([{"xs": 1, "ys": 2}],)).fit(1), "got a dict"),
    "Learner(optimizer=None)": (lambda: made(optimizer=None), "optimizer must be an instance or a function"),
    "Learner(optimizer=3)": (lambda: made(optimizer=3), "got 3"),
    "Learner(optimizer='adam')": (lambda: made(optimizer="adam"), "got 'adam'"),
    "Learner(optimizer=nn.Linear)": (
        lambda: made(optimizer=nn.Linear),
        "optimizer must be an instance or a function .* got <class",
    ),
    "Learner(optimizer=int)": (lambda: made(optimizer=int), "got <class 'int'>"),
    "Learner(optimizer=lambda: 0)": (
        lambda: made(optimizer=lambda: 0),
        "is called with \\(parameters\\), and <lambda> takes \\(\\)",
    ),
    "Learner(optimizer=lambda params, rate: 0)": (
        lambda: made(optimizer=lambda params, rate: 0),
        "takes \\(params, rate\\)",
    ),
    "Learner(optimizer=lambda params: None)": (
        lambda: made(optimizer=lambda params: None),
        "made None of the parameters",
    ),
    "Learner(optimizer={'a': torch.optim.SGD})": (
        lambda: made(optimizer={"a": torch.optim.SGD}),
        "several optimizers and one model",
    ),
    "Learner(callbacks=None)": (lambda: made(callbacks=None), "callbacks must be a list, got None"),
    "Learner(callbacks=3)": (lambda: made(callbacks=3), "got 3"),
    "Learner(callbacks=First())": (lambda: made(callbacks=First()), "callbacks must be a list, got <First>"),
    "Learner(callbacks=First)": (lambda: made(callbacks=First), "callbacks must be a list"),
    "Learner(callbacks=[First])": (lambda: made(callbacks=[First]), "First is a class, not a Callback"),
    "Learner(callbacks=[None])": (lambda: made(callbacks=[None]), "None is not a Callback"),
    "Learner(callbacks=[3])": (lambda: made(callbacks=[3]), "3 is not a Callback"),
    "Learner(callbacks=[print])": (lambda: made(callbacks=[print]), "is not a Callback"),
    "Learner(callbacks=['no_such'])": (lambda: made(callbacks=["no_such"]), "no plugin called 'no_such'"),
    "Learner(callbacks=[First()] * 2)": (lambda: made(callbacks=[First()] * 2), "in the list twice"),
    "Learner(callbacks={'a': First})": (lambda: made(callbacks={"a": First}), "no plugin called 'a'"),
    "Learner(use_default_callbacks=None)": (
        lambda: Learner(nn.Linear(1, 1), print, use_default_callbacks=None),
        "use_default_callbacks must be True, False or a list of names",
    ),
    "Learner(use_default_callbacks=3)": (
        lambda: Learner(nn.Linear(1, 1), print, use_default_callbacks=3),
        "use_default_callbacks must be True, False or a list of names",
    ),
    "Learner(use_default_callbacks='yes')": (
        lambda: Learner(nn.Linear(1, 1), print, use_default_callbacks="yes"),
        "use_default_callbacks must be True, False or a list of names",
    ),
    "Learner(use_default_callbacks=[3])": (
        lambda: Learner(nn.Linear(1, 1), print, use_default_callbacks=[3]),
        r"use_default_callbacks\[0\] must be an instance of str, got 3",
    ),
    "Learner(runner=3)": (lambda: made(runner=3), "runner must be an instance of CallbackRunner, got 3"),
    "Learner(runner=LinearRunner)": (lambda: made(runner=LinearRunner), "got the class LinearRunner"),
    "Learner(runner='threads')": (lambda: made(runner="threads"), "got 'threads'"),
    "Learner(resolve=3)": (lambda: made(callbacks=[First(), Second()], resolve=3), "resolve is 3, neither a function"),
    "Learner(resolve=First)": (lambda: made(callbacks=[First(), Second()], resolve=First), "neither a function"),
    "Learner(resolve='first')": (lambda: made(callbacks=[First(), Second()], resolve="first"), "resolve is 'first'"),
    "Learner(resolve=lambda first: None)": (
        lambda: made(callbacks=[First(), Second()], resolve=lambda first: None),
        "resolve is called with \\(first, second\\), and <lambda> takes \\(first\\)",
    ),
    "Learner(resolve=lambda: None)": (
        lambda: made(callbacks=[First(), Second()], resolve=lambda: None),
        "takes \\(\\)",
    ),
    "Learner(resolve={'First': 'first'})": (
        lambda: made(callbacks=[First(), Second()], resolve={"First": "first"}),
        "not a pair of names",
    ),
    "Learner(resolve={('First', 'Second'): 'frist'})": (
        lambda: made(callbacks=[First(), Second()], resolve={("First", "Second"): "frist"}),
        "invalid value .* Did you mean `first`",
    ),
    "Learner(resolve={('First', 'Second'): 3})": (
        lambda: made(callbacks=[First(), Second()], resolve={("First", "Second"): 3}),
        "invalid value for .* 3",
    ),
    "Learner(resolve={('First', 'Secnd'): 'first'})": (
        lambda: made(callbacks=[First(), Second()], resolve={("First", "Secnd"): "first"}),
        "Did you mean `Second`",
    ),
    "Learner(resolve={('First', 'First'): 'first'})": (
        lambda: made(callbacks=[First(), Second()], resolve={("First", "First"): "first"}),
        "both names mean the same",
    ),
    "Learner(resolve=lambda a, b: 'first')": (
        lambda: made(callbacks=[First(), Second()], resolve=lambda a, b: "first"),
        "'first'",
    ),
    "learner.lossfn = None": (lambda: set_to("lossfn", None), "The learner has no loss function"),
    "learner.lossfn = 3": (lambda: set_to("lossfn", 3), "lossfn must be a function"),
    "learner.lossfn = nn.MSELoss": (lambda: set_to("lossfn", nn.MSELoss), "got the class MSELoss"),
    "learner.model = 3": (lambda: set_to("model", 3), "got a int"),
    "learner.model = nn.Linear": (lambda: set_to("model", nn.Linear), "got the class Linear"),
    "learner.optimizer = 3": (lambda: set_to("optimizer", 3), "got 3"),
    "learner.optimizer = lambda: 0": (lambda: set_to("optimizer", lambda: 0), "takes \\(\\)"),
    "learner.data = None": (lambda: set_to("data", None), "got a NoneType"),
    "learner.data = 3": (lambda: set_to("data", 3), "got a int"),
    "learner.data = (3,)": (lambda: set_to("data", (3,)), "needs an iterable of batches, got 3"),
    "learner.data = (ROWS,)": (lambda: set_to("data", (ROWS,)), "a data set, whose items are rows"),
    "learner.step = None": (lambda: set_to("step", None), "learner\\.step must be"),
    "learner.step = 'junk'": (lambda: set_to("step", "junk"), "learner\\.step must be .* got 'junk'"),
    "learner.step = 3": (lambda: set_to("step", 3), "learner\\.step must be"),
    "learner.cbstate = None": (lambda: set_to("cbstate", None), "learner\\.cbstate must be"),
    "learner.cbstate = []": (lambda: set_to("cbstate", []), "learner\\.cbstate must be"),
    "learner.callbacks = []": (lambda: set_to("callbacks", []), "cannot be set as an attribute"),
    "learner.params = {}": (lambda: set_to("params", {}), "learner\\.params cannot be set"),
    "learner.runner = ThreadedRunner()": (lambda: set_to("runner", ThreadedRunner()), "learner\\.runner cannot be set"),
    "learner.progress = 3": (lambda: set_to("progress", 3), "learner\\.progress cannot be set"),
    "learner.position = None": (lambda: set_to("position", None), "learner\\.position cannot be set"),
    "learner.loop = None": (lambda: set_to("loop", None), "learner\\.loop cannot be set"),
    "learner.grads = None": (lambda: set_to("grads", None), "learner\\.grads cannot be set"),
    "learner.models = []": (lambda: set_to("models", []), "learner\\.models cannot be set"),
    "learner.optimizers = []": (lambda: set_to("optimizers", []), "learner\\.optimizers cannot be set"),
    "learner.optimiser = torch.optim.SGD": (lambda: set_to("optimiser", torch.optim.SGD), "Did you mean `optimizer`"),
    "learner.loss_fn = print": (lambda: set_to("loss_fn", print), "Did you mean `lossfn`"),
    "learner.modell = nn.Linear(1, 1)": (lambda: set_to("modell", nn.Linear(1, 1)), "Did you mean `model`"),
    "learner.data.training = 3": (lambda: of_data("training", 3), "needs an iterable of batches, got 3"),
    "learner.data.training = None": (lambda: of_data("training", None), "got None"),
    "learner.data.training = []": (lambda: of_data("training", []), "got no batch"),
    "learner.data.training = ROWS": (lambda: of_data("training", ROWS), "a data set"),
    "fit(None, 1)": (lambda: fit(None, 1), "The learner must be an instance of Learner, got None"),
    "fit(Learner, 1)": (lambda: fit(Learner, 1), "got the class Learner"),
    "fit(model, 1)": (lambda: fit(nn.Linear(1, 1), 1), "The learner must be an instance of Learner"),
    "fit(1, phases=3)": (lambda: made().fit(1, phases=3), "phases must be a list"),
    "plan(3)": (lambda: made().plan(3), "phases must be a list"),
    "fit(1, phases=TrainingPhase)": (lambda: made().fit(1, phases=TrainingPhase), "phases must be a list"),
    "plan(TrainingPhase)": (lambda: made().plan(TrainingPhase), "phases must be a list"),
    "fit(1, phases=TrainingPhase())": (lambda: made().fit(1, phases=TrainingPhase()), "phases must be a list"),
    "plan(TrainingPhase())": (lambda: made().plan(TrainingPhase()), "phases must be a list"),
    "fit(1, phases=[TrainingPhase])": (lambda: made().fit(1, phases=[TrainingPhase]), "got the class TrainingPhase"),
    "plan([TrainingPhase])": (lambda: made().plan([TrainingPhase]), "got the class TrainingPhase"),
    "fit(1, phases=[3])": (lambda: made().fit(1, phases=[3]), "phases.0. must be an instance of Phase"),
    "plan([3])": (lambda: made().plan([3]), "phases.0. must be an instance of Phase"),
    "fit(1, phases=[])": (lambda: made().fit(1, phases=[]), "phases is empty"),
    "plan([])": (lambda: made().plan([]), "phases is empty"),
    "fit(1, phases='training')": (lambda: made().fit(1, phases="training"), "phases must be a list"),
    "plan('training')": (lambda: made().plan("training"), "phases must be a list"),
    "handle(3)": (lambda: made().handle(3), "must be an instance of Phase"),
    "handle(TrainingPhase)": (lambda: made().handle(TrainingPhase), "got the class TrainingPhase"),
    "handle(TrainingPhase())(3)": (
        lambda: made().handle(TrainingPhase())(3),
        "takes the class of an event or an operation, got 3",
    ),
    "handle(TrainingPhase())(None)": (lambda: made().handle(TrainingPhase())(None), "got None"),
    "handle(TrainingPhase())([])": (lambda: made().handle(TrainingPhase())([]), "got \\[\\]"),
    "handle(TrainingPhase())({})": (lambda: made().handle(TrainingPhase())({}), "got \\{\\}"),
    "handle(TrainingPhase())('step_end')": (lambda: made().handle(TrainingPhase())("step_end"), "got 'step_end'"),
    "handle(TrainingPhase())(StepEnd())": (
        lambda: made().handle(TrainingPhase())(StepEnd()),
        "takes the class of an event",
    ),
    "handle(TrainingPhase())(StepEnd, 3)": (
        lambda: made().handle(TrainingPhase())(StepEnd, 3),
        "takes no arguments beside learner and phase",
    ),
    "set_callbacks(None)": (lambda: made().set_callbacks(None), "callbacks must be a list"),
    "set_callbacks(3)": (lambda: made().set_callbacks(3), "callbacks must be a list"),
    "set_callbacks('recorder')": (lambda: made().set_callbacks("recorder"), "callbacks must be a list"),
    "set_callbacks([3])": (lambda: made().set_callbacks([3]), "3 is not a Callback"),
    "set_callbacks([First])": (lambda: made().set_callbacks([First]), "First is a class"),
    "trial(None)": (lambda: made().trial(None), "callbacks must be a list"),
    "trial(3)": (lambda: made().trial(3), "callbacks must be a list"),
    "trial('recorder')": (lambda: made().trial("recorder"), "callbacks must be a list"),
    "trial([3])": (lambda: made().trial([3]), "3 is not a Callback"),
    "trial([First])": (lambda: made().trial([First]), "First is a class"),
    "add_callback(None)": (lambda: made().add_callback(None), "None is not a Callback"),
    "add_callback(3)": (lambda: made().add_callback(3), "3 is not a Callback"),
    "add_callback(First)": (lambda: made().add_callback(First), "First is a class"),
    "add_callback([First()])": (lambda: made().add_callback([First()]), "is not a Callback"),
    "replace_callback(None)": (lambda: made().replace_callback(None), "None is not a Callback"),
    "replace_callback(3)": (lambda: made().replace_callback(3), "3 is not a Callback"),
    "replace_callback(First)": (lambda: made().replace_callback(First), "First is a class"),
    "replace_callback([First()])": (lambda: made().replace_callback([First()]), "is not a Callback"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_a_typed_error_that_names_the_thing_and_the_fix(make, message):
    with pytest.raises(TreadleError, match=message) as caught:
        make()
    assert "Fix: " in str(caught.value)


GOOD = {
    "learner.data = (loader,)": lambda: set_to("data", ([BATCH],)),
    "learner.data = a mapping": lambda: set_to("data", {"training": [BATCH]}),
    "a loader around a data set": lambda: made(data=(torch.utils.data.DataLoader(ROWS),)).fit(1),
    "learner.cbstate = {}": lambda: set_to("cbstate", {}),
    "learner.step = {}": lambda: set_to("step", {}),
    "an attribute of the user's own": lambda: set_to("experiment", 3),
    "a loss function of any arguments": lambda: made(lossfn=lambda *tensors: tensors[0].mean()).fit(1),
    "a function with defaults": lambda: made(optimizer=lambda params, lr=0.1: torch.optim.SGD(params, lr)).fit(1),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD.keys())
def test_what_is_unusual_and_right_works(make):
    assert make().epochs == 1


def test_an_error_of_the_model_or_the_loss_function_says_what_they_were_called_with() -> None:
    with pytest.raises(RuntimeError) as of_the_model:
        made(data=([(torch.ones(2, 3), torch.ones(2, 1))],)).fit(1)
    with pytest.raises(AttributeError) as of_the_loss:
        made(data=([(torch.ones(2, 1), None)],)).fit(1)
    assert [caught.value.__notes__[0] for caught in (of_the_model, of_the_loss)] == [
        "The model Linear was called with xs: a tensor of shape (2, 3), float32.",
        "The loss function mse_loss was called with yhats: a tensor of shape (2, 1), float32, and ys: None.",
    ]


def test_bad_data_of_a_later_phase_are_refused_before_the_first_step() -> None:
    learner = made()
    learner.data.validation = []
    with pytest.raises(DataError, match=r"^ValidationPhase\(\) got no batch from list"):
        learner.fit(1)
    assert learner.progress.steps == 0
