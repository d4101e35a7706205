import os
import sys

import pytest
from loguru import logger
from treadle import (
    Callback,
    CallbackConflictError,
    Learner,
    NoConflict,
    PluginError,
    RunFirst,
    StepEnd,
    Unresolvable,
    Write,
    callback_graph,
    throttle,
    toy_learner,
)
from treadle.plugins.discovery import CALLBACKS, DISABLE, PLUGINS, find, installed, load
from treadle.plugins.modules import modules_for, resolver
from treadle.plugins.selection import DEFAULTS

HELLO = """
from treadle import Callback
class Hello(Callback):
    def on_step_end(self): ...
"""
WRITERS = """
from treadle import Callback, Write
class First(Callback):
    state_access = {"cbstate.demo": Write}
    def on_step_end(self): ...
class Second(Callback):
    state_access = {"cbstate.demo": Write}
    def on_step_end(self): ...
"""


@pytest.fixture
def hello(install):
    install("hello-plugin", files={"hello_plugin.py": HELLO}, entry_points={CALLBACKS: {"hello": "hello_plugin:Hello"}})


def names(group: str) -> list[str]:
    return [plugin.name for plugin in installed(group)]


# Finding.


def test_an_installed_plugin_is_listed_and_not_imported(hello) -> None:
    plugin = find("hello")
    assert (plugin.name, plugin.group, plugin.value) == ("hello", CALLBACKS, "hello_plugin:Hello")
    assert (plugin.distribution, plugin.version) == ("hello-plugin", "1.0")
    assert plugin in installed()
    assert plugin in installed(CALLBACKS)
    assert plugin not in installed(PLUGINS)
    toy_learner().fit(1)
    Learner(toy_learner().model, print, use_default_callbacks=False).plan()
    assert "hello_plugin" not in sys.modules


def test_it_is_imported_when_it_is_asked_for_by_name(hello) -> None:
    assert load("hello").__name__ == "Hello"
    assert "hello_plugin" in sys.modules


def test_a_name_stands_for_an_instance_in_the_callbacks_of_a_learner(hello) -> None:
    learner = toy_learner("hello")
    (callback,) = learner.callbacks
    assert type(callback) is load("hello")
    learner.set_callbacks([])
    learner.add_callback("hello")
    assert type(learner.callbacks[0]) is load("hello")


def test_a_plugin_that_is_installed_later_is_found(install) -> None:
    assert "late" not in names(CALLBACKS)
    install("late-plugin", files={"late_plugin.py": HELLO}, entry_points={CALLBACKS: {"late": "late_plugin:Hello"}})
    assert "late" in names(CALLBACKS)


def test_a_name_that_nobody_has_is_guessed(hello) -> None:
    with pytest.raises(PluginError, match=r"There is no plugin called 'helo' installed\. Did you mean `hello`\?"):
        load("helo")
    with pytest.raises(PluginError, match=r"There is no plugin called 'helo' installed\. Did you mean `hello`\?"):
        toy_learner("helo")


# What cannot be used is data, until somebody asks for it.

BROKEN = {
    "import": (
        "import nowhere_to_be_found",
        r"ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ModuleNotFoundError,
    ),
    "syntax": ("def (:", r"SyntaxError: ", SyntaxError),
    "exit": ("raise SystemExit(3)", r"SystemExit: 3", SystemExit),
    "error": ("1 / 0", r"ZeroDivisionError: division by zero", ZeroDivisionError),
    "attribute": ("", r"AttributeError: module 'broken_plugin' has no attribute 'Hello'", AttributeError),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_plugin_that_fails_to_import_is_an_error_only_when_it_is_asked_for(kind, install) -> None:
    source, message, cause = BROKEN[kind]
    install(
        "broken-plugin", files={"broken_plugin.py": source}, entry_points={CALLBACKS: {"broken": "broken_plugin:Hello"}}
    )
    assert toy_learner().fit(1).steps == 16
    with pytest.raises(
        PluginError,
        match=rf"The plugin 'broken' \(broken-plugin 1\.0, broken_plugin:Hello\) cannot be imported: {message}.*"
        rf"Mend or uninstall broken-plugin, or leave it out: {DISABLE}=broken",
    ) as refused:
        toy_learner("broken")
    assert type(refused.value.__cause__) is cause
    assert type(find("broken").error) is cause
    assert toy_learner().fit(1).steps == 16


def test_an_interrupt_while_a_plugin_is_imported_is_no_fault_of_the_plugin(install) -> None:
    install(
        "slow-plugin",
        files={"slow_plugin.py": "raise KeyboardInterrupt"},
        entry_points={CALLBACKS: {"slow": "slow_plugin:Slow"}},
    )
    with pytest.raises(KeyboardInterrupt):
        load("slow")


@pytest.mark.parametrize("value", ["42", "Hello()", "int", "print"])
def test_a_plugin_of_the_wrong_kind_is_refused(value, install) -> None:
    install(
        "wrong-plugin",
        files={"wrong_plugin.py": f"{HELLO}\nwrong = {value}"},
        entry_points={CALLBACKS: {"wrong": "wrong_plugin:wrong"}},
    )
    with pytest.raises(PluginError, match=r"The plugin 'wrong' .* is .*, which is no subclass of treadle\.Callback"):
        load("wrong")
    assert isinstance(find("wrong").error, PluginError)


def test_a_plugin_without_fault_has_no_error(hello) -> None:
    assert find("hello").error is None


def test_two_distributions_with_one_name_are_refused_when_it_is_asked_for(install, monkeypatch) -> None:
    for name in ("one", "two"):
        install(
            f"{name}-plugin",
            files={f"{name}_plugin.py": HELLO},
            entry_points={CALLBACKS: {"twin": f"{name}_plugin:Hello"}},
        )
    assert names(CALLBACKS).count("twin") == 2
    assert toy_learner().fit(1).steps == 16
    with pytest.raises(
        PluginError,
        match=r"Several distributions have a plugin called 'twin': one-plugin \(one_plugin:Hello\), two-plugin "
        rf"\(two_plugin:Hello\)\. Uninstall one of them, leave one out \({DISABLE}=one-plugin\), or import the class",
    ):
        load("twin")
    monkeypatch.setenv(DISABLE, "one-plugin")
    assert load("twin").__module__ == "two_plugin"


# Leaving out.


@pytest.mark.parametrize("value", ["hello", "hello-plugin", "all", "other, hello", "other,all", "Hello_Plugin"])
def test_a_disabled_plugin_is_left_out_also_when_it_is_asked_for(value, hello, monkeypatch) -> None:
    monkeypatch.setenv(DISABLE, value)
    assert find("hello").disabled
    with pytest.raises(
        PluginError,
        match=rf"The plugin 'hello' \(hello-plugin 1\.0, hello_plugin:Hello\) is disabled: take it out of {DISABLE}\.",
    ):
        toy_learner("hello")
    assert "hello_plugin" not in sys.modules


@pytest.mark.parametrize("value", ["", "other", "hell", " , "])
def test_others_are_not(value, hello, monkeypatch) -> None:
    monkeypatch.setenv(DISABLE, value)
    assert not find("hello").disabled


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


def test_a_default_stays_away_if_one_of_its_class_is_given(install, only_tests) -> None:
    default_plugin(install, recorder=it())
    cls = load("recorder")
    child = type("Child", (cls,), {})
    for given in (cls(), child(), throttle(cls(), StepEnd, freq=2)):
        assert toy_learner(given, use_default_callbacks=True).callbacks == (given,)


def test_a_default_that_reads_what_nobody_writes_steps_back_and_who_reads_from_it_too(
    install, only_tests, monkeypatch
) -> None:
    default_plugin(
        install,
        recorder=it('state_access = {"cbstate.a": Write}'),
        metrics=it('state_access = {"cbstate.a": Read, "cbstate.b": Write}'),
        metrics_printer=it('state_access = {"cbstate.b": Read}'),
        stop_on_nan_loss=it('state_access = {"step.loss": Read}'),
    )

    def joined(*given: Callback) -> list[str]:
        learner = toy_learner(*given, use_default_callbacks=True)
        return [type(callback).__module__.removeprefix("test_default_") for callback in learner.callbacks]

    assert joined() == ["recorder", "metrics", "metrics_printer", "stop_on_nan_loss"]
    monkeypatch.setenv(DISABLE, f"{os.environ[DISABLE]},recorder")
    assert joined() == ["stop_on_nan_loss"]

    class Own(Callback):
        state_access = {"cbstate.a": Write}

    assert joined(Own())[1:] == ["metrics", "metrics_printer", "stop_on_nan_loss"]


def test_a_broken_default_is_left_out_with_a_word(install, only_tests) -> None:
    default_plugin(install, recorder="import nowhere_to_be_found", metrics=it())
    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(message.record["message"]), level="WARNING")
    learner = toy_learner(use_default_callbacks=True)
    logger.remove(sink)
    assert [type(callback).__module__ for callback in learner.callbacks] == ["test_default_metrics"]
    assert len(messages) == 1
    assert messages[0].startswith("A default callback is left out. The plugin 'recorder' (test-recorder 1.0,")


# Plugin modules.

RESOLVES = """
from treadle import RunFirst, hookimpl
@hookimpl
def resolve_conflict(first, second):
    if {type(first).__name__, type(second).__name__} == {"First", "Second"}:
        return RunFirst(first if type(first).__name__ == "Second" else second)
"""


def demo(install, **modules: str):
    """A distribution with two writers and modules of the group for plugins."""
    files = {f"demo_plugin/{name}.py": source for name, source in modules.items()}
    install(
        "demo-plugin",
        files={"demo_plugin/__init__.py": WRITERS, **files},
        entry_points={
            CALLBACKS: {"first": "demo_plugin:First", "second": "demo_plugin:Second"},
            PLUGINS: {name: f"demo_plugin.{name}" for name in modules},
        },
    )


def other(install, source: str) -> None:
    """A distribution that has nothing but a module, about other people's callbacks."""
    install("third-party", files={"third_party.py": source}, entry_points={PLUGINS: {"third_party": "third_party"}})


def test_a_module_takes_part_when_a_callback_of_its_distribution_does(install) -> None:
    demo(install, rules=RESOLVES)
    first, second = load("first")(), load("second")()
    assert "demo_plugin.rules" not in sys.modules
    for callbacks in ([first, second], [second, first]):
        graph = callback_graph(callbacks)
        assert list(graph.edges) == [(second, first)]
        assert graph.edges[second, first]["reason"] == (
            "RunFirst(Second), says resolve_conflict of the plugin demo-plugin:rules"
        )
    assert toy_learner(first, second).fit(1).steps == 16


def test_a_module_that_nobody_named_and_whose_callbacks_are_not_in_use_is_never_imported(install) -> None:
    demo(install, rules="raise AssertionError('imported')")
    other(install, "raise AssertionError('imported')")

    class Mine(Callback):
        state_access = {"cbstate.demo": Write}

        def on_step_end(self): ...

    assert toy_learner(Mine()).fit(1).steps == 16
    assert not {"demo_plugin", "demo_plugin.rules", "third_party"} & set(sys.modules)


def test_a_module_takes_part_when_it_is_named_among_the_callbacks(install) -> None:
    demo(install)
    other(install, RESOLVES)
    with pytest.raises(CallbackConflictError, match=r"First and Second both write `cbstate\.demo`"):
        toy_learner("first", "second")
    learner = toy_learner("first", "second", "third_party")
    assert [callback.name for callback in learner.plan().rows[0][2]] == ["Second", "First"]
    learner.add_callback(load("first").__base__())
    assert [callback.name for callback in learner.plan().rows[0][2]] == ["Second", "First"]
    with pytest.raises(CallbackConflictError, match="both write"):
        learner.set_callbacks(["first", "second"])


def test_it_takes_part_with_a_callback_inside_of_a_throttle_and_is_shown_the_inner_one(install) -> None:
    demo(install, rules=RESOLVES)
    first, second = throttle(load("first")(), StepEnd, freq=2), throttle(load("second")(), StepEnd, freq=2)
    assert list(callback_graph([first, second]).edges) == [(second, first)]


def test_two_answers_are_quoted_with_the_plugins_names(install) -> None:
    demo(
        install,
        one="from treadle import NoConflict, hookimpl\n@hookimpl\ndef resolve_conflict(): return NoConflict()",
        two="from treadle import Unresolvable, hookimpl\n@hookimpl\ndef resolve_conflict(first): return Unresolvable()",
    )
    with pytest.raises(
        CallbackConflictError,
        match=r"First and Second both use `cbstate\.demo`, and they settle it differently: resolve_conflict of the "
        r"plugin demo-plugin:one answers NoConflict\(\); resolve_conflict of the plugin demo-plugin:two answers Unr",
    ):
        toy_learner("first", "second")


def test_a_name_may_be_a_callbacks_and_a_modules(install) -> None:
    install(
        "both-plugin",
        files={"both_plugin/__init__.py": HELLO, "both_plugin/rules.py": "used = True"},
        entry_points={CALLBACKS: {"both": "both_plugin:Hello"}, PLUGINS: {"both": "both_plugin.rules"}},
    )
    learner = toy_learner("both")
    assert [callback.name for callback in learner.callbacks] == ["Hello"]
    assert sys.modules["both_plugin.rules"].used


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("@hookimpl\ndef resolve_conflicts(first, second): ...", r"unknown hook 'resolve_conflicts'"),
        ("@hookimpl\ndef resolve_conflict(first, second, third): ...", r"'third'"),
        ("@hookimpl\ndef on_step_end(learner): ...", r"unknown hook 'on_step_end'"),
    ],
)
def test_a_module_that_does_not_match_the_hooks_is_refused(source, message, install) -> None:
    demo(install, rules=f"from treadle import hookimpl\n{source}")
    with pytest.raises(
        PluginError,
        match=rf"The plugin demo-plugin:rules does not match Treadle's hooks: (?s:.*){message}(?s:.*)"
        r"A module can implement: resolve_conflict\(first, second\)\.",
    ):
        toy_learner("first")
    assert toy_learner().fit(1).steps == 16


def test_a_module_that_fails_to_import_is_an_error_for_those_who_use_its_callbacks(install) -> None:
    demo(install, rules="1 / 0")
    with pytest.raises(
        PluginError, match=r"The plugin 'rules' \(demo-plugin 1\.0, demo_plugin\.rules\) cannot be imported"
    ):
        toy_learner("first")
    assert toy_learner().fit(1).steps == 16


def test_a_disabled_module_takes_no_part(install, monkeypatch) -> None:
    demo(install, rules="1 / 0")
    monkeypatch.setenv(DISABLE, "rules")
    assert toy_learner("first").fit(1).steps == 16
    with pytest.raises(PluginError, match=r"The plugin 'rules' .* is disabled"):
        toy_learner("first", "rules")


def test_a_module_can_declare_events_that_callbacks_of_its_distribution_handle(install) -> None:
    install(
        "events-plugin",
        files={
            "events_plugin/__init__.py": (
                "from treadle import Callback\nclass Listener(Callback):\n    def on_batch_drawn(self): ...\n"
            ),
            "events_plugin/events.py": "from treadle import Event\nclass BatchDrawn(Event):\n    '''Drawn.'''\n",
        },
        entry_points={CALLBACKS: {"listener": "events_plugin:Listener"}, PLUGINS: {"events": "events_plugin.events"}},
    )
    learner = toy_learner("listener")
    assert learner.fit(1).steps == 16


# An error raised by a plugin's callback names its distribution.


def test_an_error_in_a_handler_names_the_distribution(install) -> None:
    install(
        "raising-plugin",
        files={
            "raising_plugin.py": (
                "from treadle import Callback\nclass Raises(Callback):\n"
                "    def on_step_end(self): raise ValueError('broken')\n"
            )
        },
        entry_points={CALLBACKS: {"raises": "raising_plugin:Raises"}},
        version="2.5",
    )
    with pytest.raises(ValueError, match="broken") as raised:
        toy_learner("raises").fit(1)
    assert raised.value.__notes__ == [
        "Raised by Raises (raising-plugin 2.5) in on_step_end, TrainingPhase, epoch 1, step 1."
    ]


def test_the_answers_of_a_resolver_are_given_with_their_names(install) -> None:
    demo(install, rules=RESOLVES)
    first, second = load("first")(), load("second")()
    resolve = resolver(modules_for([first, second]))
    assert resolve(first, second) == [("resolve_conflict of the plugin demo-plugin:rules", RunFirst(second))]
    assert resolve(first, first) == []
    assert resolver([])(first, second) == []
    assert {NoConflict(), Unresolvable()} != set()
