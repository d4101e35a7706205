from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Union

import pytest
import torch
import treadle
from torch import nn
from treadle import (
    AbstractTrainingPhase,
    ArgumentTypeError,
    Callback,
    CallbackError,
    EpochEnd,
    Event,
    Phase,
    StepEnd,
    TrainingPhase,
    ValidationPhase,
    hookimpl,
    throttle,
    toy_learner,
)
from treadle.operations import Forward
from treadle.ordering.handlers import handlers, handles

if TYPE_CHECKING:
    from nowhere import OnlyForCheckers


def handled(callback: Callback) -> dict[str, tuple[type[Phase], ...]]:
    return {name: handler.phases for name, handler in handlers(callback).items()}


def test_a_method_named_for_a_hook_handles_it() -> None:
    class Mine(Callback):
        def on_step_end(self): ...

        def forward(self): ...

        def helper(self): ...

    found = handlers(Mine())
    assert {name: handler.hook for name, handler in found.items()} == {"on_step_end": StepEnd, "forward": Forward}


def test_handlers_are_inherited_and_mixed_in() -> None:
    class Mixin:
        def on_fit_end(self): ...

    class Base(Callback):
        def on_step_end(self): ...

    class Child(Base, Mixin):
        def on_epoch_end(self): ...

    assert sorted(handled(Child())) == ["on_epoch_end", "on_fit_end", "on_step_end"]


def test_a_callback_handles_nothing_by_itself() -> None:
    assert handled(Callback()) == {}


# The annotation of phase.


class Annotated(Callback):
    def on_epoch_begin(self, phase): ...

    def on_epoch_end(self, phase: TrainingPhase): ...

    def on_step_begin(self, phase: TrainingPhase | ValidationPhase): ...

    def on_step_end(self, phase: Union[TrainingPhase, ValidationPhase]): ...  # noqa: UP007

    def on_loss_begin(self, learner): ...

    def on_backward_begin(self, phase: "AbstractTrainingPhase"): ...  # noqa: UP037

    def on_backward_end(self, phase: treadle.TrainingPhase): ...


def test_the_annotation_of_phase_restricts_a_handler() -> None:
    assert handled(Annotated()) == {
        "on_epoch_begin": (Phase,),
        "on_epoch_end": (TrainingPhase,),
        "on_step_begin": (TrainingPhase, ValidationPhase),
        "on_step_end": (TrainingPhase, ValidationPhase),
        "on_loss_begin": (Phase,),
        "on_backward_begin": (AbstractTrainingPhase,),
        "on_backward_end": (TrainingPhase,),
    }


def test_a_quoted_name_is_looked_up_where_the_handler_stands() -> None:
    class Local(TrainingPhase):
        """Defined in a function."""

    class Mine(Callback):
        def on_step_end(self, phase: Local): ...

    assert handled(Mine()) == {"on_step_end": (Local,)}


def test_a_quoted_phase_of_the_core_needs_no_import() -> None:
    scope: dict = {}
    exec(
        "from treadle import Callback\n"
        "class Mine(Callback):\n"
        "    def on_step_end(self, phase: 'ValidationPhase'): ...\n",
        scope,
    )
    assert handled(scope["Mine"]()) == {"on_step_end": (ValidationPhase,)}


def test_a_name_that_only_type_checkers_import_is_found_among_the_phases() -> None:
    class OnlyForCheckers(TrainingPhase):
        """Known by now, whoever defined it."""

    phase = OnlyForCheckers

    class Mine(Callback):
        def on_step_end(self, phase: OnlyForCheckers): ...

    del OnlyForCheckers
    assert handled(Mine()) == {"on_step_end": (phase,)}


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (
            "Trainingphase",
            r"annotates `phase` with 'Trainingphase', and name 'Trainingphase' is not defined\.\nFix: import",
        ),
        ("treadle.Nothing", r"annotates `phase` with 'treadle\.Nothing', and module 'treadle' has no attribute"),
        ("Training Phase", r"annotates `phase` with 'Training Phase', and "),
        (
            int,
            r"annotates `phase` with <class 'int'>, which is not a type of phase\.\nFix: .*:\n    phase: TrainingPhase",
        ),
        ("TrainingPhase()", r"annotates `phase` with TrainingPhase\(\), which is not a type of phase"),
        ("TrainingPhase | None", r"annotates `phase` with <class 'NoneType'>, which is not a type of phase"),
        (StepEnd, r"annotates `phase` with <class 'treadle\.events\.StepEnd'>, which is not a type of phase"),
    ],
)
def test_an_annotation_that_is_not_a_type_of_phase_is_refused(annotation, message) -> None:
    class Mine(Callback):
        def on_step_end(self, phase): ...

    Mine.on_step_end.__annotations__["phase"] = annotation
    with pytest.raises(CallbackError, match=rf"^Mine\.on_step_end {message}"):
        handlers(Mine())
    with pytest.raises(CallbackError, match=message):
        toy_learner(Mine())


def test_a_decorated_handler_is_what_it_decorates() -> None:
    calls = []

    def noted(method):
        @functools.wraps(method)
        def inner(*args, **kwargs):
            calls.append(method.__name__)
            return method(*args, **kwargs)

        return inner

    class Mine(Callback):
        @noted
        def on_epoch_end(self, learner, phase: ValidationPhase):
            calls.append(type(phase).__name__)

    assert handled(Mine()) == {"on_epoch_end": (ValidationPhase,)}
    toy_learner(Mine()).fit(1)
    assert calls == ["on_epoch_end", "ValidationPhase"]


# What is not a handler.


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("on_step_ends", r"Did you mean `on_step_end`\?"),
        ("on_batch_end", r"Did you mean `on_[a-z_]+`\?|There is: "),
        ("on_train_start", r"Did you mean `on_[a-z_]+`\?|There is: "),
    ],
)
def test_a_method_that_looks_like_a_handler_of_no_event_is_refused(name, guess) -> None:
    mine = type("Mine", (Callback,), {name: lambda self: None})
    with pytest.raises(
        CallbackError, match=rf"^Mine has a method `{name}`, and there is no such event\. ({guess})"
    ) as refused:
        toy_learner(mine())
    assert str(refused.value).endswith(
        "\nFix: rename it, or declare the event as a subclass of treadle.Event before using the callback."
    )


def test_a_method_marked_as_a_hook_that_there_is_not_is_refused() -> None:
    class Mine(Callback):
        @hookimpl
        def forwards(self): ...

    with pytest.raises(CallbackError, match=r"Mine has a method `forwards`.*Did you mean `forward`\?"):
        handlers(Mine())


def test_a_function_kept_under_the_name_of_an_operation_is_not_a_handler() -> None:
    class Keeps(Callback):
        def __init__(self) -> None:
            self.loss = nn.functional.mse_loss
            self.forward = nn.Linear(1, 1)
            self.update = lambda value: value
            self.epoch = 3

        def on_step_end(self): ...

    keeps = Keeps()
    assert list(handled(keeps)) == ["on_step_end"]
    assert toy_learner(keeps).fit(1).steps == 16
    assert keeps.loss(torch.ones(1), torch.zeros(1)).item() == 1.0


class Called:
    def __call__(self, learner): ...


@pytest.mark.parametrize(
    ("value", "kind"), [(property(lambda self: print), "property"), (Called(), "Called"), (3, "int")]
)
def test_what_is_named_for_an_event_and_is_not_a_method_is_refused(value, kind) -> None:
    with pytest.raises(
        CallbackError,
        match=rf"^Mine\.on_step_end is a {kind}, and only a method can be a handler\.\n"
        r"Fix: write a method:\n    def on_step_end\(self, learner, phase\): \.\.\.$",
    ):
        handlers(type("Mine", (Callback,), {"on_step_end": value})())


def test_what_is_set_on_the_callback_for_an_event_is_a_function() -> None:
    callback = Callback()
    callback.on_step_end = functools.partial(print, "a step")
    with pytest.raises(CallbackError, match=r"^Callback\.on_step_end is a partial, and only a method can be a handler"):
        handlers(callback)


def test_none_takes_an_inherited_handler_away() -> None:
    class Handles(Callback):
        def on_step_end(self): ...

    class Rests(Handles):
        on_step_end = None

    assert handled(Rests()) == {}


def test_a_function_set_on_the_callback_handles_an_event() -> None:
    calls = []
    callback = Callback()
    callback.on_epoch_end = lambda learner: calls.append(1)
    assert handled(callback) == {"on_epoch_end": (Phase,)}
    toy_learner(callback).fit(1)
    assert (calls, EpochEnd.hook) == ([1, 1], "on_epoch_end")


# Signatures.


@pytest.mark.parametrize(
    "method",
    [
        lambda self: None,
        lambda self, learner: None,
        lambda self, phase: None,
        lambda self, phase, learner: None,
    ],
    ids=["nothing", "learner", "phase", "both, swapped"],
)
def test_a_handler_asks_for_any_of_its_arguments(method) -> None:
    assert toy_learner(type("Mine", (Callback,), {"on_step_end": method})()).fit(1).steps == 16


@pytest.mark.parametrize(
    ("name", "method", "hook"),
    [
        ("on_step_end", lambda self, batch: None, r"on_step_end\(self, learner, phase\)"),
        ("on_fit_begin", lambda self, phase: None, r"on_fit_begin\(self, learner\)"),
        ("on_init", lambda self, learner, phase: None, r"on_init\(self, learner\)"),
        ("epoch", lambda self, batch: None, r"epoch\(self, learner, phase, data\)"),
        ("update", lambda self, value: None, r"update\(self, learner, phase\)"),
    ],
)
def test_an_argument_that_the_hook_does_not_have_is_refused(name, method, hook) -> None:
    with pytest.raises(
        CallbackError,
        match=rf"^Mine\.{name} does not match the hook of its name\. .*\nFix: .*another name:\n    def {hook}: \.\.\.$",
    ):
        toy_learner(type("Mine", (Callback,), {name: method})())


def test_a_static_method_can_handle() -> None:
    seen = []

    class Mine(Callback):
        @staticmethod
        def on_epoch_end(learner, phase: TrainingPhase):
            seen.append(phase)

    toy_learner(Mine()).fit(1)
    assert seen == [TrainingPhase()]


# Whether a callback handles something.


class Both(Callback):
    def on_step_end(self, phase: TrainingPhase): ...

    def on_fit_end(self): ...

    @hookimpl(wrapper=True)
    def forward(self, phase: TrainingPhase | ValidationPhase):
        return (yield)


@pytest.mark.parametrize(
    ("hook", "phase", "answer"),
    [
        (StepEnd, None, True),
        ("on_step_end", None, True),
        (StepEnd, TrainingPhase, True),
        (StepEnd, TrainingPhase(), True),
        (StepEnd, ValidationPhase, False),
        (StepEnd, Phase, False),
        (Forward, ValidationPhase, True),
        ("forward", None, True),
        ("on_fit_end", ValidationPhase, True),
        (EpochEnd, None, False),
        (EpochEnd, TrainingPhase, False),
    ],
)
def test_whether_a_callback_handles_a_hook_in_a_phase(hook, phase, answer) -> None:
    assert handles(Both(), hook, phase) is answer
    assert handles(throttle(Both(), StepEnd, freq=2), hook, phase) is answer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("on_step_ends",),
            r"'on_step_ends' is not an event or an operation\. Did you mean `on_step_end`\?\nFix: pass",
        ),
        ((Event,), r"<class '.*Event'> is not an event or an operation\.\nFix: pass its class, or the name"),
        ((StepEnd(),), r"StepEnd object.* is not an event"),
        ((3,), r"3 is not an event or an operation\.\nFix: .*:\n    handles\(callback, StepEnd\)"),
        ((StepEnd, "training"), r"'training' is not a phase or a type of phase\.\nFix: pass one of the classes"),
        ((StepEnd, int), r"<class 'int'> is not a phase"),
    ],
)
def test_handles_refuses_what_is_not_a_hook_or_a_phase(arguments, message) -> None:
    with pytest.raises(ArgumentTypeError, match=message):
        handles(Both(), *arguments)


# Methods of others, and methods without self.


class Wraps(Callback):
    @hookimpl(wrapper=True)
    def on_step_end(self):
        return (yield)

    @hookimpl(wrapper=True)
    def forward(self):
        return (yield)


@pytest.mark.parametrize("name", ["helper", "on_done", "forward", "loss"])
@pytest.mark.parametrize("method", ["on_step_end", "forward"])
def test_a_method_of_another_callback_that_it_keeps_is_not_a_handler(name, method) -> None:
    class Keeps(Callback):
        def on_epoch_end(self): ...

    keeps = Keeps()
    setattr(keeps, name, getattr(Wraps(), method))
    assert list(handlers(keeps)) == ["on_epoch_end"]
    assert toy_learner(keeps).fit(1).steps == 16


def test_it_is_where_it_stands_under_the_name_of_an_event() -> None:
    keeps = Callback()
    keeps.on_step_end = Wraps().on_step_end
    assert handlers(keeps)["on_step_end"].wrapper


def test_a_function_under_an_unknown_name_of_an_event_is_a_slip() -> None:
    slip = Callback()
    slip.on_step_ends = lambda learner: None
    with pytest.raises(CallbackError, match=r"has a method `on_step_ends`, .* Did you mean `on_step_end`\?"):
        handlers(slip)


def learner_first(learner, phase): ...


def nothing(): ...


def phase_first(phase: TrainingPhase): ...


@pytest.mark.parametrize(
    ("method", "fix"),
    [
        (learner_first, "def on_step_end(self, learner, phase): ..."),
        (nothing, "def on_step_end(self): ..."),
        (phase_first, "def on_step_end(self, phase): ..."),
        (hookimpl(learner_first), "def on_step_end(self, learner, phase): ..."),
    ],
)
def test_a_handler_without_self_is_refused(method, fix) -> None:
    callback = type("Printer", (Callback,), {"on_step_end": method})()
    with pytest.raises(CallbackError) as refused:
        toy_learner(callback)
    assert str(refused.value) == (
        "Printer.on_step_end does not take `self`, and Python passes the callback first.\n"
        f"Fix: take it first:\n    {fix}"
    )


@pytest.mark.parametrize(
    "method", [staticmethod(learner_first), staticmethod(nothing), lambda this: None, lambda *arguments: None]
)
def test_a_handler_that_needs_no_self_or_calls_it_otherwise_is_not(method) -> None:
    callback = type("Printer", (Callback,), {"on_step_end": method})()
    assert [*handlers(callback)] == ["on_step_end"]
