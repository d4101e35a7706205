"""Which callbacks a learner gets: those listed, and the defaults."""

import copy
import inspect
import os
from dataclasses import dataclass

import pytest
from loguru import logger
from torch import nn
from treadle import (
    AccessError,
    Callback,
    CallbackError,
    Learner,
    PluginError,
    StepEnd,
    TreadleError,
    Write,
    throttle,
    toy_learner,
)
from treadle.plugins.discovery import CALLBACKS, DISABLE, installed, load
from treadle.plugins.selection import DEFAULTS, FACETS


def learner(callbacks, *, use_default_callbacks: bool = False) -> Learner:
    return Learner(
        nn.Linear(1, 1), nn.functional.l1_loss, callbacks=callbacks, use_default_callbacks=use_default_callbacks
    )


# Those listed.


def at_step_end(**body) -> type[Callback]:
    return type("Mine", (Callback,), {"on_step_end": lambda self: None, **body})


@dataclass
class ByValue(Callback):
    number: int = 3


class Equal(Callback):
    def __eq__(self, other):
        return True


@dataclass(eq=False)
class ByIdentity(Callback):
    number: int = 3


@pytest.mark.parametrize(
    ("callbacks", "error", "message"),
    [
        (
            [Callback],
            CallbackError,
            r"^Callback is a class, not a Callback\.\nFix: make an instance:\n    Callback\(\)$",
        ),
        (
            [3],
            CallbackError,
            r"^3 is not a Callback\.\nFix: subclass .*, or wrap a function:\n    CustomCallback\(f, StepEnd\)",
        ),
        ([print], CallbackError, r"is not a Callback\.\n.*wrap a function"),
        ([None], CallbackError, r"^None is not a Callback"),
        (
            Callback(),
            CallbackError,
            r"^callbacks must be a list, got <Callback>\.\nFix: pass a list:\n    callbacks=\[Callback\(\)\]$",
        ),
        ("recorder", CallbackError, r"^callbacks must be a list, got 'recorder'\.\n.*\n    callbacks=\['recorder'\]$"),
        (None, CallbackError, r"^callbacks must be a list, got None\.\nFix: pass a list:\n    callbacks=\[\]$"),
        (["no_such_plugin_at_all"], PluginError, r"^There is no plugin called 'no_such_plugin_at_all' installed\."),
        (
            [ByValue()],
            CallbackError,
            r"^ByValue compares by value, .*\nFix: leave .*above a data class, write:\n    @dataclass\(eq=False\)$",
        ),
        ([Equal()], CallbackError, r"^Equal compares by value"),
        ([at_step_end(name=3)()], CallbackError, r"^Mine\.name is 3, not a text\.\nFix: declare"),
        ([at_step_end(state_access={"stp": Write})()], AccessError, r"a learner has no `stp`\. Did you mean `step`\?"),
        ([at_step_end(run_after="recorder")()], AccessError, r"Mine\.run_after is 'recorder', not a tuple"),
        (
            [at_step_end(on_batch=lambda self: None)()],
            CallbackError,
            r"Mine has a method `on_batch`, and there is no such event",
        ),
    ],
)
def test_what_is_not_a_callback_is_refused(callbacks, error, message) -> None:
    assert issubclass(error, TreadleError)
    for use_default_callbacks in (False, True):
        with pytest.raises(error, match=message):
            learner(callbacks, use_default_callbacks=use_default_callbacks)
    kept = Callback()
    made = toy_learner(kept)
    with pytest.raises(error, match=message):
        made.set_callbacks(callbacks)
    assert (made.callbacks, made.fit(1).steps) == ((kept,), 16)


def test_a_callback_is_listed_once() -> None:
    callback = Callback()
    with pytest.raises(
        CallbackError,
        match=r"^Callback is in the list twice, the same object\.\nFix: list it once, or make another one\.$",
    ):
        learner([callback, Callback(), callback])


def test_a_callback_inside_of_another_is_listed_already() -> None:
    callback = at_step_end()()
    with pytest.raises(CallbackError, match=r"Mine is in the list twice, the same object"):
        learner([callback, throttle(callback, StepEnd, freq=2)])


def test_a_data_class_that_compares_by_identity_is_a_callback() -> None:
    assert toy_learner(ByIdentity(), ByIdentity()).fit(1).steps == 16


@pytest.mark.parametrize("kind", [list, tuple, iter, set])
def test_callbacks_come_in_any_collection(kind) -> None:
    callback = Callback()
    assert learner(kind([callback])).callbacks == (callback,)


def test_a_name_whose_class_has_arguments_says_how_to_make_it(install) -> None:
    install(
        "needs-plugin",
        files={
            "needs_plugin.py": (
                "from treadle import Callback\nclass Needs(Callback):\n    def __init__(self, folder, *, keep=3): ...\n"
            )
        },
        entry_points={CALLBACKS: {"needs": "needs_plugin:Needs"}},
    )
    with pytest.raises(
        CallbackError,
        match=r"^'needs' cannot be used by its name alone, since Needs needs arguments \(missing a required argument: "
        r"'folder'\)\.\nFix: make it:\n    from needs_plugin import Needs\n    callbacks=\[Needs\(\.\.\.\)\]$",
    ):
        learner(["needs"])


def is_method(value: object) -> bool:
    return inspect.isfunction(value) or isinstance(value, classmethod)


def test_whatever_others_may_ask_of_a_callback_is_checked() -> None:
    public = {name for name, value in vars(Callback).items() if name[0] != "_" and not is_method(value)}
    assert public == {*FACETS, "state_access", "run_after"}


# Defaults.


def default_plugin(install, **sources: str) -> None:
    """Install defaults as a plugin of a test; those of the environment are left out."""
    for name, source in sources.items():
        install(
            f"test-{name}",
            files={f"test_default_{name}.py": source},
            entry_points={CALLBACKS: {name: f"test_default_{name}:It"}},
        )


@pytest.fixture
def only_tests(monkeypatch):
    """Leave out whatever the environment has installed."""
    others = {plugin.distribution for plugin in installed()}
    monkeypatch.setenv(DISABLE, ",".join(others))


def it(body: str = "", base: str = "Callback") -> str:
    return f"from treadle import Callback, Read, Write\nclass It({base}):\n    {body or 'pass'}\n"


def test_the_defaults_are_five_known_by_name_only() -> None:
    assert DEFAULTS == ("recorder", "metrics", "metrics_printer", "progress_printer", "stop_on_nan_loss")


def test_a_default_joins_where_it_is_installed(install, only_tests) -> None:
    default_plugin(install, recorder=it(), metrics=it(), another=it())
    learner = toy_learner(use_default_callbacks=True)
    assert [type(callback).__module__ for callback in learner.callbacks] == [
        "test_default_recorder",
        "test_default_metrics",
    ]
    assert toy_learner().callbacks == ()


def test_nothing_joins_where_nothing_is_installed(only_tests) -> None:
    assert toy_learner(use_default_callbacks=True).callbacks == ()


def test_a_default_is_left_out_if_one_of_its_class_is_listed(install, only_tests) -> None:
    default_plugin(install, recorder=it())
    cls = load("recorder")
    child = type("Child", (cls,), {})
    for callback in (cls(), child(), throttle(cls(), StepEnd, freq=2)):
        assert toy_learner(callback, use_default_callbacks=True).callbacks == (callback,)


def test_a_default_that_reads_what_no_callback_writes_is_left_out_and_so_are_its_readers(
    install, only_tests, monkeypatch
) -> None:
    default_plugin(
        install,
        recorder=it('state_access = {"cbstate.a": Write}'),
        metrics=it('state_access = {"cbstate.a": Read, "cbstate.b": Write}'),
        metrics_printer=it('state_access = {"cbstate.b": Read}'),
        stop_on_nan_loss=it('state_access = {"step.loss": Read}'),
    )

    def joined(*listed: Callback) -> list[str]:
        learner = toy_learner(*listed, use_default_callbacks=True)
        return [type(callback).__module__.removeprefix("test_default_") for callback in learner.callbacks]

    assert joined() == ["recorder", "metrics", "metrics_printer", "stop_on_nan_loss"]
    monkeypatch.setenv(DISABLE, f"{os.environ[DISABLE]},recorder")
    assert joined() == ["stop_on_nan_loss"]

    class Own(Callback):
        state_access = {"cbstate.a": Write}

    assert joined(Own())[1:] == ["metrics", "metrics_printer", "stop_on_nan_loss"]


def test_a_broken_default_is_left_out_with_a_warning(install, only_tests) -> None:
    default_plugin(install, recorder="import nowhere_to_be_found", metrics=it())
    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(message.record["message"]), level="WARNING")
    learner = toy_learner(use_default_callbacks=True)
    logger.remove(sink)
    assert [type(callback).__module__ for callback in learner.callbacks] == ["test_default_metrics"]
    assert len(messages) == 1
    assert messages[0].startswith("A default callback is left out. The plugin 'recorder' (test-recorder 1.0,")


# Names that are close to one and mean none.


@pytest.fixture
def warnings():
    found: list[str] = []
    handler = logger.add(lambda message: found.append(message.record["message"]), level="WARNING")
    yield found
    logger.remove(handler)


class Steps(Callback):
    def on_step_end(self): ...


def late(*names: str) -> Callback:
    return type("Late", (Callback,), {"run_after": names, "on_step_end": lambda self: None})()


def test_a_name_in_run_after_that_is_close_to_one_is_reported_once(warnings) -> None:
    learner = toy_learner(late("Stepz"), Steps())
    assert warnings == [
        "Late.run_after names 'Stepz', and no callback has that name. Did you mean `Steps`?\n"
        "Fix: correct the name. A name that no callback has orders nothing."
    ]
    learner.add_callback(Callback())
    copy.deepcopy(learner)
    assert len(warnings) == 1
    learner.add_callback(late("stepss"))
    assert len(warnings) == 2


def test_so_is_one_that_is_close_to_what_is_installed(install, only_tests, warnings) -> None:
    default_plugin(install, metrics=it())
    toy_learner(late("metric"))
    assert [text.partition("\n")[0].partition("name. ")[2] for text in warnings] == ["Did you mean `metrics`?"]


@pytest.mark.parametrize("name", ["Steps", "steps", "somebody_else", "unknown_recorder", "Late"])
def test_a_name_that_means_one_or_is_like_none_is_silent(name, warnings) -> None:
    toy_learner(late(name), Steps())
    assert warnings == []


@pytest.mark.parametrize("value", ["metric", "recorder,metric", "Metric "])
def test_a_name_that_disables_none_and_is_close_to_one_is_reported(
    install, only_tests, monkeypatch, warnings, value
) -> None:
    default_plugin(install, metrics=it(), recorder=it())
    monkeypatch.setenv("TREADLE_DISABLE_PLUGINS", value)
    toy_learner(Steps()).add_callback(Callback())
    assert len(warnings) == 1
    assert warnings[0].endswith(
        "and there is no plugin of that name. Did you mean `metrics`?\n"
        "Fix: correct the name. A name that no plugin has disables nothing:\n    TREADLE_DISABLE_PLUGINS=metrics"
    )


@pytest.mark.parametrize("value", ["", "metrics", "all", "Metrics,", "something_else"])
def test_a_name_that_disables_one_or_is_like_none_is_silent(install, only_tests, monkeypatch, warnings, value) -> None:
    default_plugin(install, metrics=it())
    monkeypatch.setenv("TREADLE_DISABLE_PLUGINS", value)
    toy_learner(Steps())
    assert warnings == []
