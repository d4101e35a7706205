"""Plugins of other people: built as wheels, installed by pip into a folder of their own, and used from there.

Nothing here is a stand-in: the distributions are small, and real.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hatchling.builders.wheel import WheelBuilder
from treadle import (
    Callback,
    CallbackConflictError,
    PluginError,
    Read,
    plugins,
    toy_learner,
)

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{name}"
version = "{version}"
dependencies = ["treadle-core>=0.1"]
[tool.hatch.build.targets.wheel]
packages = ["{package}"]
"""

COUNTER = '''
"""Counts training steps, for other callbacks to read."""
from treadle import Callback, Read, TrainingPhase, Write

class Counter(Callback):
    """Keeps the number of training steps in `cbstate.counted`."""
    state_access = {"cbstate.counted": Write}
    def on_init(self, learner):
        learner.cbstate.counted = 0
    def on_step_end(self, learner, phase: TrainingPhase):
        learner.cbstate.counted += 1

class HistoryReader(Callback):
    """Follows the recorder of another distribution, which it never imports."""
    state_access = {"cbstate.history": Read}
    run_after = ("recorder",)
    def __init__(self):
        self.seen = []
    def on_step_end(self, learner, phase: TrainingPhase):
        self.seen.append(learner.cbstate.history[phase].steps)

class Raises(Callback):
    """Fails at the second step."""
    def __init__(self):
        self.steps = 0
    def on_step_end(self, phase: TrainingPhase):
        self.steps += 1
        if self.steps == 2:
            raise ValueError("a fault of the plugin")
'''

PHASES = '''
"""An event, an operation and a phase of their own."""
from treadle import AbstractTrainingPhase, Event, Operation, run_step

class MixedUp(Event):
    """The rows of a batch were mixed."""

class Mixing(Operation):
    """Mix the rows of a batch."""
    @staticmethod
    def run(learner, phase):
        return learner.step.xs.flip(0)

class MixedPhase(AbstractTrainingPhase):
    """Mixes each batch and does nothing else."""
    def step(self, learner, batch):
        with run_step(learner, self, xs=batch) as (handle, state):
            state.mixed = handle(Mixing)
            handle(MixedUp)
'''

LISTENER = '''
"""Handles the event and answers the operation of the package beside it."""
from treadle import Callback, Read
from counter_plugin.phases import MixedPhase

class Listener(Callback):
    state_access = {"step.mixed": Read}
    def __init__(self):
        self.heard = []
    def on_mixed_up(self, learner, phase: MixedPhase):
        self.heard.append(learner.step.mixed.tolist())

class Answers(Callback):
    state_access = {"step.xs": Read}
    def mixing(self, learner):
        return learner.step.xs * 10
'''

SCALE = '''
"""Two that write the same, from two distributions that do not know each other."""
from treadle import Callback, TrainingPhase, Write

class {name}(Callback):
    state_access = {{"step.xs": Write}}
    def on_step_begin(self, learner, phase: TrainingPhase):
        learner.step.xs = {expression}
'''

RULES = '''
"""What a third party knows about the two."""
from treadle import RunFirst, hookimpl

@hookimpl
def resolve_conflict(first, second):
    for one, other in ((first, second), (second, first)):
        if type(one).__name__ == "Doubles" and type(other).__name__ == "Shifts":
            return RunFirst(one)
'''

OWN_RULES = '''
"""What a distribution knows about two callbacks of its own."""
from treadle import NoConflict, hookimpl

@hookimpl
def resolve_conflict(first, second):
    return NoConflict()
'''

TWO = """
from treadle import Callback, Write

class One(Callback):
    state_access = {"cbstate.shared": Write}
    def on_step_end(self): ...

class Other(Callback):
    state_access = {"cbstate.shared": Write}
    def on_step_end(self): ...
"""

C, P = "treadle.callbacks", "treadle.plugins"

#: name of the distribution: files of its package, entry points
DISTRIBUTIONS = {
    "counter-plugin": (
        {"__init__.py": "", "counting.py": COUNTER, "phases.py": PHASES, "listener.py": LISTENER},
        {
            C: {
                "counter": "counter_plugin.counting:Counter",
                "history_reader": "counter_plugin.counting:HistoryReader",
                "raises": "counter_plugin.counting:Raises",
                "listener": "counter_plugin.listener:Listener",
                "answers": "counter_plugin.listener:Answers",
            }
        },
    ),
    "doubles-plugin": (
        {"__init__.py": SCALE.format(name="Doubles", expression="learner.step.xs * 2")},
        {C: {"doubles": "doubles_plugin:Doubles"}},
    ),
    "shifts-plugin": (
        {"__init__.py": SCALE.format(name="Shifts", expression="learner.step.xs + 1")},
        {C: {"shifts": "shifts_plugin:Shifts"}},
    ),
    "rules-plugin": ({"__init__.py": RULES}, {P: {"doubles_and_shifts": "rules_plugin"}}),
    "two-plugin": (
        {"__init__.py": TWO, "rules.py": OWN_RULES},
        {C: {"one": "two_plugin:One", "other": "two_plugin:Other"}, P: {"two_rules": "two_plugin.rules"}},
    ),
    "twin-a": ({"__init__.py": TWO}, {C: {"twin": "twin_a:One"}}),
    "twin-b": ({"__init__.py": TWO}, {C: {"twin": "twin_b:One"}}),
    "imports-nothing": (
        {"__init__.py": "import a_module_that_is_not_there"},
        {C: {"imports_nothing": "imports_nothing:It"}},
    ),
    "no-syntax": ({"__init__.py": "class It(:\n"}, {C: {"no_syntax": "no_syntax:It"}}),
    "exits": ({"__init__.py": "import sys\nsys.exit('licence expired')\n"}, {C: {"exits": "exits:It"}}),
    "wrong-type": ({"__init__.py": "It = 42\n"}, {C: {"wrong_type": "wrong_type:It"}}),
    "bad-rules": (
        {"__init__.py": TWO, "rules.py": "from treadle import hookimpl\n@hookimpl\ndef resolve_everything(): ...\n"},
        {C: {"ruled": "bad_rules:One"}, P: {"bad_rules": "bad_rules.rules"}},
    ),
}
PACKAGES = {name.replace("-", "_") for name in DISTRIBUTIONS}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the wheel of every distribution above."""
    sources, wheels, target = (tmp_path_factory.mktemp(name) for name in ("sources", "wheels", "site"))
    for name, (files, points) in DISTRIBUTIONS.items():
        folder, package = sources / name, name.replace("-", "_")
        (folder / package).mkdir(parents=True)
        text = PYPROJECT.format(name=name, version="1.2.3", package=package)
        for group, entries in points.items():
            text += f'[project.entry-points."{group}"]\n'
            text += "".join(f'{key} = "{value}"\n' for key, value in entries.items())
        (folder / "pyproject.toml").write_text(text)
        for file, source in files.items():
            (folder / package / file).write_text(source)
        list(WheelBuilder(str(folder)).build(directory=str(wheels), versions=["standard"]))
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--quiet", "--no-index"]
    done = subprocess.run(
        [*pip, "--no-deps", "--no-compile", "--target", target, *sorted(wheels.glob("*.whl"))],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


@pytest.fixture(autouse=True)
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The folder is on the path, and what a test imports from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(site)
    yield
    for name in imported():
        del sys.modules[name]


def imported() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in PACKAGES]


def ours(group: str | None = None) -> list[plugins.Plugin]:
    return [plugin for plugin in plugins.installed(group) if plugin.distribution in DISTRIBUTIONS]


def weights(*callbacks: Callback | str) -> torch.Tensor:
    learner = toy_learner(*callbacks)
    learner.fit(2)
    return learner.model.weight.detach().clone()


# Installing makes available, naming makes active.


def test_all_are_listed_with_distribution_and_version_also_the_broken_ones() -> None:
    expected = {
        (group, name, value, distribution, "1.2.3")
        for distribution, (_, points) in DISTRIBUTIONS.items()
        for group, entries in points.items()
        for name, value in entries.items()
    }
    assert {(p.group, p.name, p.value, p.distribution, p.version) for p in ours()} == expected
    assert imported() == []


def test_plugins_that_are_not_named_are_not_imported_and_do_not_change_a_run(site, monkeypatch) -> None:
    with_them = weights()
    assert imported() == []
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(site)])
    assert ours() == []
    assert torch.equal(weights(), with_them)


def test_a_name_makes_one_active() -> None:
    learner = toy_learner("counter")
    learner.fit(2)
    assert learner.cbstate.counted == 32
    assert imported() == ["counter_plugin", "counter_plugin.counting"]
    assert "  Counter: counter-plugin 1.2.3" in str(learner.plan())


def test_a_fresh_interpreter_with_the_defaults_imports_none_of_them(site) -> None:
    program = """
import json, sys
from treadle import plugins, toy_learner
result = toy_learner("counter", use_default_callbacks=True).fit(1)
print(json.dumps([result.epochs, [name for name in sys.modules if name.partition(".")[0] in json.loads(sys.argv[1])]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(sorted(PACKAGES))],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [1, ["counter_plugin", "counter_plugin.counting"]]
    assert "left out" not in done.stderr


# A broken plugin breaks nothing but itself.


@pytest.mark.parametrize(
    ("name", "message", "reason"),
    [
        ("imports_nothing", r"ModuleNotFoundError: No module named 'a_module_that_is_not_there'", ModuleNotFoundError),
        ("no_syntax", r"SyntaxError: ", SyntaxError),
        ("exits", r"SystemExit: licence expired", SystemExit),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_an_error_when_it_is_loaded(name, message, reason) -> None:
    distribution = name.replace("_", "-")
    assert toy_learner("counter").fit(1).steps == 16
    with pytest.raises(
        PluginError, match=rf"The plugin '{name}' \({distribution} 1\.2\.3, {name}:It\) cannot.*{message}"
    ) as refused:
        toy_learner("counter", name)
    assert type(refused.value.__cause__) is reason
    assert type(plugins.find(name).error) is reason
    assert toy_learner("counter").fit(1).steps == 16


def test_a_plugin_of_the_wrong_type_is_an_error_when_it_is_loaded() -> None:
    with pytest.raises(
        PluginError, match=r"The plugin 'wrong_type' .* is 42, which is not a subclass of treadle\.Callback"
    ):
        toy_learner("wrong_type")


def test_rules_that_match_no_hook_are_an_error_when_their_callbacks_are_used() -> None:
    with pytest.raises(PluginError, match=r"The plugin bad-rules:bad_rules does not match Treadle's hooks"):
        toy_learner("ruled")
    assert toy_learner("one").fit(1).steps == 16


def test_two_distributions_with_one_name_are_distinguished_by_disabling_one(monkeypatch) -> None:
    with pytest.raises(
        PluginError, match=r"called 'twin': twin-a \(twin_a:One\), twin-b \(twin_b:One\)\.\nFix: import the"
    ):
        toy_learner("twin")
    monkeypatch.setenv(plugins.DISABLE, "twin-a")
    assert type(toy_learner("twin").callbacks[0]).__module__ == "twin_b"


@pytest.mark.parametrize("value", ["counter", "counter-plugin", "all"])
def test_a_disabled_module_is_not_used_even_if_it_is_named(value, monkeypatch) -> None:
    monkeypatch.setenv(plugins.DISABLE, value)
    assert toy_learner().fit(1).steps == 16
    with pytest.raises(
        PluginError, match=r"The plugin 'counter' .* is disabled\.\nFix: take it out of TREADLE_DISABLE_PLUGINS"
    ):
        toy_learner("counter")
    assert imported() == []


# They work together, or say why not.


def test_one_follows_a_first_party_callback_by_name_without_importing_it() -> None:
    pytest.importorskip("treadle_metrics", reason="treadle-metrics is not installed")
    for names in (["recorder", "history_reader"], ["history_reader", "recorder"]):
        learner = toy_learner(*names)
        learner.fit(1)
        (reader,) = [callback for callback in learner.callbacks if callback.name == "HistoryReader"]
        assert reader.seen == list(range(1, 17))


def test_a_read_without_a_writer_names_the_distribution_that_has_one() -> None:
    class Needs(Callback):
        state_access = {"cbstate.counted": Read}

        def on_step_end(self): ...

    with pytest.raises(
        CallbackConflictError,
        match=r"Needs reads `cbstate\.counted`.*\n   Fix: add Counter \(of counter-plugin\) to the",
    ):
        toy_learner(Needs())
    assert imported() == []
    assert toy_learner(Needs(), "counter").fit(1).steps == 16


def test_plugins_that_conflict_are_refused_and_a_named_hook_module_resolves_it() -> None:
    for names in (["doubles", "shifts"], ["shifts", "doubles"]):
        with pytest.raises(
            CallbackConflictError, match=r"Doubles and Shifts both write `step\.xs`, and nothing orders them"
        ):
            toy_learner(*names)
        assert "rules_plugin" not in imported()
    both = [weights("doubles", "shifts", "doubles_and_shifts"), weights("doubles_and_shifts", "shifts", "doubles")]
    assert torch.equal(*both)
    (edge,) = toy_learner("shifts", "doubles", "doubles_and_shifts").plan().edges
    assert (edge[0].name, edge[1].name, edge[2]) == (
        "Doubles",
        "Shifts",
        "RunFirst(Doubles), from resolve_conflict of the plugin rules-plugin:doubles_and_shifts",
    )


def test_rules_of_a_distribution_apply_when_one_of_its_callbacks_is_used() -> None:
    assert toy_learner("one", "other").plan().edges == []
    assert "two_plugin.rules" in imported()


def test_events_operations_and_phases_of_another_distribution_work_as_the_cores_do() -> None:
    learner = toy_learner("listener")
    (listener,) = learner.callbacks
    from counter_plugin.phases import MixedPhase

    batch = torch.tensor([[1.0], [2.0]])
    assert learner.fit(1, ([batch],), phases=[MixedPhase()]).steps == 1
    learner.add_callback("answers")
    learner.fit(1, ([batch],), phases=[MixedPhase()])
    assert listener.heard == [[[2.0], [1.0]], [[10.0], [20.0]]]
    assert ("MixedPhase", "on_mixed_up", (listener,)) in learner.plan().rows


def test_an_error_of_one_is_its_own_object_and_names_the_distribution() -> None:
    with pytest.raises(ValueError, match="a fault of the plugin") as raised:
        toy_learner("counter", "raises").fit(1)
    assert raised.value.__notes__ == [
        "Raised by Raises (counter-plugin 1.2.3) in on_step_end, TrainingPhase, epoch 1, step 2."
    ]
