"""A plugin runs with the core that its distribution requires, and is refused with another, with both versions."""

import sys

import pytest
import treadle
from loguru import logger
from treadle import CustomCallback, FitEnd, PluginError, toy_learner
from treadle.plugins import DISABLE, find, installed, load
from treadle.plugins.metadata import CALLBACKS, PLUGINS, core_range, core_version

HELLO = """
from treadle import Callback
class Hello(Callback):
    def on_step_end(self): ...
"""
RESOLVES = """
from treadle import hookimpl
@hookimpl
def resolve_conflict(first, second): ...
"""


def hello(install, *requires: str, hooks: bool = True) -> None:
    install(
        "hello-plugin",
        files={"hello_plugin.py": HELLO, "hello_hooks.py": RESOLVES},
        entry_points={
            CALLBACKS: {"hello": "hello_plugin:Hello"},
            PLUGINS: {"hello_hooks": "hello_hooks"} if hooks else {},
        },
        requires=requires,
    )


def core(install, version: str) -> None:
    """Another version of the core, as far as metadata go."""
    install("treadle-core", version=version)


def test_the_version_of_the_core_is_that_of_its_metadata() -> None:
    assert core_version() == treadle.__version__


@pytest.mark.parametrize(
    ("requirements", "version_range"),
    [
        (["treadle-core>=0.1,<0.2", "torch>=2.5"], ">=0.1,<0.2"),
        (["Treadle_Core (>=0.1, <0.2)"], ">=0.1,<0.2"),
        (["treadle>=0.3", "treadle-core<0.5"], ">=0.3,<0.5"),
        (["treadle[plot]~=0.1"], "~=0.1"),
        (["treadle-core"], ""),
        (["treadle-metrics>=0.7", "treadle.core.extras>=3"], ""),
        (['treadle-core>=0.7; extra == "new"'], ""),
        (['treadle-core>=0.7; python_version < "3.11"'], ""),
        (["treadle-core @ https://example.org/treadle-core.zip"], ""),
        ([], ""),
    ],
)
def test_the_range_is_that_of_its_requirements(requirements, version_range) -> None:
    assert core_range(requirements) == version_range


@pytest.mark.parametrize("version", ["0.1", "0.1.7", "0.2.0.dev3"])
def test_a_core_that_fits_runs_it(version, install) -> None:
    hello(install, "treadle-core>=0.1,<=0.2")
    core(install, version)
    assert find("hello").is_compatible
    assert find("hello").core == ">=0.1,<=0.2"
    assert toy_learner("hello").fit(1).steps == 16


@pytest.mark.parametrize("version", ["0.0.9", "0.2.0", "1.0"])
def test_an_older_or_newer_core_refuses_it_by_name_with_both_versions(version, install) -> None:
    hello(install, "treadle-core>=0.1,<0.2")
    core(install, version)
    with pytest.raises(
        PluginError,
        match=r"The plugin 'hello' \(hello-plugin 1\.0, hello_plugin:Hello\) was written for "
        rf"treadle-core >=0\.1,<0\.2, and treadle-core {version} is installed\.\n"
        r"Fix: install versions that fit each other:\n    pip install --upgrade hello-plugin treadle-core",
    ) as refused:
        toy_learner("hello")
    assert "hello_plugin" not in sys.modules

    plugin = find("hello")
    assert plugin in installed()
    assert not plugin.is_compatible
    assert str(plugin.error) == str(refused.value)
    assert "hello_plugin" not in sys.modules


def test_a_class_of_it_that_was_imported_is_used_with_a_warning(install) -> None:
    hello(install, "treadle-core>=0.1", hooks=False)
    imported = load("hello")
    core(install, "0.0.9")
    warned: list[str] = []
    handler = logger.add(warned.append, format="{message}")
    try:
        learner = toy_learner(imported())
        learner.add_callback(CustomCallback(print, FitEnd))  # reported once
    finally:
        logger.remove(handler)
    assert learner.fit(1).steps == 16
    assert warned == [
        "Hello (hello-plugin 1.0) was written for treadle-core >=0.1, and treadle-core 0.0.9 is installed.\n"
        "Fix: install versions that fit each other:\n    pip install --upgrade hello-plugin treadle-core\n"
    ]


def test_one_that_nobody_named_changes_nothing(install) -> None:
    hello(install, "treadle-core<0.1")
    assert toy_learner().fit(1).steps == 16


def test_a_hook_module_of_it_is_refused_too(install) -> None:
    hello(install, "treadle-core<0.1")
    with pytest.raises(PluginError, match=r"The plugin 'hello_hooks' .* was written for treadle-core <0\.1, and"):
        toy_learner("hello_hooks")


def test_it_is_disabled_rather_than_incompatible(install, monkeypatch) -> None:
    hello(install, "treadle-core<0.1")
    monkeypatch.setenv(DISABLE, "hello")
    with pytest.raises(PluginError, match=r"is disabled"):
        load("hello")


def test_a_default_that_does_not_fit_is_left_out_with_a_warning(install) -> None:
    install(
        "treadle-metrics",
        files={"other_recorder.py": HELLO},
        entry_points={CALLBACKS: {"recorder": "other_recorder:Hello"}},
        requires=["treadle-core>=7"],
    )
    warned: list[str] = []
    handler = logger.add(warned.append, format="{message}")
    try:
        learner = toy_learner(use_default_callbacks=True)
    finally:
        logger.remove(handler)
    assert "Hello" not in {type(callback).__name__ for callback in learner.callbacks}
    assert "A default callback is left out. The plugin 'recorder' (treadle-metrics 1.0" in "".join(warned)


@pytest.mark.parametrize("requirement", ["treadle-core>=banana", "treadle-core", 'treadle-core>=7; extra == "x"'])
def test_a_distribution_that_does_not_say_is_taken_as_it_is(requirement, install) -> None:
    hello(install, requirement)
    assert toy_learner("hello").fit(1).steps == 16
