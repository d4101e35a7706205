"""Finding plugins, leaving them out, and the names of what comes from them."""

import sys

import pytest
from treadle import (
    Callback,
    CustomCallback,
    Learner,
    PluginError,
    StepEnd,
    throttle,
    toy_learner,
)
from treadle.plugins.discovery import (
    CALLBACKS,
    DISABLE,
    PLUGINS,
    distribution_of,
    entry_point_names,
    find,
    installed,
    load,
    names_of,
)

HELLO = """
from treadle import Callback
class Hello(Callback):
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


def test_an_unknown_name_is_guessed(hello) -> None:
    with pytest.raises(
        PluginError, match=r"There is no plugin called 'helo' installed\. Did you mean `hello`\?\nFix: corr"
    ):
        load("helo")
    with pytest.raises(PluginError, match=r"There is no plugin called 'helo' installed\. Did you mean `hello`\?"):
        toy_learner("helo")


# What cannot be used is data, until it is asked for.

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
        rf"\nFix: repair or uninstall broken-plugin, or leave it out:\n    {DISABLE}=broken",
    ) as refused:
        toy_learner("broken")
    assert type(refused.value.__cause__) is cause
    assert type(find("broken").error) is cause
    assert toy_learner().fit(1).steps == 16


def test_an_interrupt_while_a_plugin_is_imported_is_not_its_error(install) -> None:
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
    with pytest.raises(
        PluginError, match=r"The plugin 'wrong' .* is .*, which is not a subclass of treadle\.Callback\.\nFix: let"
    ):
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
        rf"\(two_plugin:Hello\)\.\nFix: import the class that you mean, uninstall one of them, or leave one out:\n"
        rf"    {DISABLE}=one-plugin",
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
        match=r"The plugin 'hello' \(hello-plugin 1\.0, hello_plugin:Hello\) is disabled\.\nFix: take it out of ",
    ):
        toy_learner("hello")
    assert "hello_plugin" not in sys.modules


@pytest.mark.parametrize("value", ["", "other", "hell", " , "])
def test_others_are_not(value, hello, monkeypatch) -> None:
    monkeypatch.setenv(DISABLE, value)
    assert not find("hello").disabled


# Where a callback comes from, and what it may be called.

STOP = """
from treadle import Callback
class Base(Callback): ...
class StopOnNaNLoss(Base): ...
"""


@pytest.fixture
def stop(install):
    install(
        "stop-plugin",
        files={"stop_plugin/__init__.py": "from stop_plugin.stop import StopOnNaNLoss", "stop_plugin/stop.py": STOP},
        entry_points={CALLBACKS: {"halt": "stop_plugin.stop:StopOnNaNLoss", "base": "stop_plugin.stop:Base"}},
        version="3.1",
    )
    return load("halt")


def test_a_callback_comes_from_the_distribution_that_its_module_belongs_to(stop) -> None:
    assert distribution_of(stop()) == "stop-plugin 3.1"
    assert distribution_of(throttle(stop(), StepEnd, freq=2)) == "stop-plugin 3.1"


def test_a_callback_of_no_distribution_comes_from_none() -> None:
    class Mine(Callback):
        """Defined here."""

    assert distribution_of(Mine()) is None
    assert distribution_of(CustomCallback(print, StepEnd)) is None


def test_a_callback_may_be_called_by_its_name_its_classes_and_its_entry_points(stop) -> None:
    callback = stop()
    callback.name = "mine"
    assert names_of(callback) == {"mine", "StopOnNaNLoss", "stop_on_nan_loss", "halt", "Base", "base"}
    assert names_of(throttle(callback, StepEnd, freq=2)) == names_of(callback)


def test_a_subclass_is_called_as_its_base_is(stop) -> None:
    child = type("Child", (stop,), {})
    assert {"Child", "child", "halt", "StopOnNaNLoss", "base"} <= names_of(child())
    assert entry_point_names(child) == {"halt", "base"}


def test_an_entry_point_counts_also_when_it_names_the_package_and_not_the_module(install) -> None:
    install(
        "short-plugin",
        files={
            "short_plugin/__init__.py": "from short_plugin.stop import StopOnNaNLoss",
            "short_plugin/stop.py": STOP,
        },
        entry_points={CALLBACKS: {"short": "short_plugin:StopOnNaNLoss"}},
    )
    assert "short" in names_of(load("short")())


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
