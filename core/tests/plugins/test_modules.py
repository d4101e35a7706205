"""Hook modules: which are used, and how they resolve conflicts between callbacks."""

import sys

import pytest
from treadle import (
    Callback,
    CallbackConflictError,
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
from treadle.plugins.discovery import DISABLE, load
from treadle.plugins.metadata import CALLBACKS, PLUGINS
from treadle.plugins.modules import modules_for, resolver

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


def test_a_module_is_used_when_a_callback_of_its_distribution_is(install) -> None:
    demo(install, rules=RESOLVES)
    first, second = load("first")(), load("second")()
    assert "demo_plugin.rules" not in sys.modules
    for callbacks in ([first, second], [second, first]):
        graph = callback_graph(callbacks)
        assert list(graph.edges) == [(second, first)]
        assert graph.edges[second, first]["reason"] == (
            "RunFirst(Second), from resolve_conflict of the plugin demo-plugin:rules"
        )
    assert toy_learner(first, second).fit(1).steps == 16


def test_a_module_that_is_not_named_and_whose_callbacks_are_not_used_is_never_imported(install) -> None:
    demo(install, rules="raise AssertionError('imported')")
    other(install, "raise AssertionError('imported')")

    class Mine(Callback):
        state_access = {"cbstate.demo": Write}

        def on_step_end(self): ...

    assert toy_learner(Mine()).fit(1).steps == 16
    assert not {"demo_plugin", "demo_plugin.rules", "third_party"} & set(sys.modules)


def test_a_module_is_used_when_it_is_named_among_the_callbacks(install) -> None:
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


def test_it_is_used_with_a_throttled_callback_and_gets_the_inner_one(install) -> None:
    demo(install, rules=RESOLVES)
    first, second = throttle(load("first")(), StepEnd, freq=2), throttle(load("second")(), StepEnd, freq=2)
    assert list(callback_graph([first, second]).edges) == [(second, first)]


def test_two_resolutions_are_quoted_with_the_plugins_names(install) -> None:
    demo(
        install,
        one="from treadle import NoConflict, hookimpl\n@hookimpl\ndef resolve_conflict(): return NoConflict()",
        two="from treadle import Unresolvable, hookimpl\n@hookimpl\ndef resolve_conflict(first): return Unresolvable()",
    )
    with pytest.raises(
        CallbackConflictError,
        match=r"First and Second both use `cbstate\.demo`, and their resolutions differ: NoConflict\(\) from "
        r"resolve_conflict of the plugin demo-plugin:one; Unresolvable\(\) from resolve_conflict of the plugin demo-",
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
        r"\nFix: let the module implement this, .*:\n    @hookimpl\n    def resolve_conflict\(first, second\)",
    ):
        toy_learner("first")
    assert toy_learner().fit(1).steps == 16


def test_a_module_that_fails_to_import_is_an_error_when_its_callbacks_are_used(install) -> None:
    demo(install, rules="1 / 0")
    with pytest.raises(
        PluginError, match=r"The plugin 'rules' \(demo-plugin 1\.0, demo_plugin\.rules\) cannot be imported"
    ):
        toy_learner("first")
    assert toy_learner().fit(1).steps == 16


def test_a_disabled_module_is_not_used(install, monkeypatch) -> None:
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


def test_a_resolver_gives_resolutions_with_their_source(install) -> None:
    demo(install, rules=RESOLVES)
    first, second = load("first")(), load("second")()
    resolve = resolver(modules_for([first, second]))
    assert resolve(first, second) == [("resolve_conflict of the plugin demo-plugin:rules", RunFirst(second))]
    assert resolve(first, first) == []
    assert resolver([])(first, second) == []
    assert {NoConflict(), Unresolvable()} != set()
