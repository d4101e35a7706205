"""`treadle plugins`."""

import json
import re

import pytest
from treadle import plugins

WATCHES = '''
from treadle import Callback, Read, TrainingPhase, Write
print("imported")

class Watches(Callback):
    """Watches the loss."""
    state_access = {"step.loss": Read, "cbstate.watched": Write}
    run_after = ("recorder",)
    def __init__(self, every=10):
        print("made")
        self.every = every
    def on_step_end(self, learner, phase: TrainingPhase): ...
    def forward(self): ...

class Needs(Watches):
    """Needs an argument, and declares the same whatever it is."""
    def __init__(self, n):
        self.n = n

class Depends(Callback):
    """Declares by its argument."""
    def __init__(self, entry):
        self.state_access = {f"cbstate.{entry}": Write}
    def on_epoch_end(self): ...

class Property(Callback):
    """Declares by its argument, too."""
    def __init__(self, entry):
        self.entry = entry
    @property
    def state_access(self):
        return {f"cbstate.{self.entry}": Write}
    @property
    def run_after(self):
        return (self.entry,)

class Example(Property):
    """Says how one is made."""
    @classmethod
    def example(cls):
        return cls("of_example")

class Wrong(Callback):
    """Declares what no learner has."""
    state_access = {"modle": Read}
'''

POINTS = {
    "watches": "Watches",
    "needs": "Needs",
    "depends": "Depends",
    "of_property": "Property",
    "of_example": "Example",
    "wrong": "Wrong",
}


@pytest.fixture
def listed(treadle, install):
    """What the command lists of the module above, as JSON, by name."""
    install("acme-watch", WATCHES, **POINTS)
    done = treadle("plugins", "--json")
    assert done.status == 1  # of the one that is wrong
    return {
        entry["name"]: entry for entry in json.loads(done.out)["callbacks"] if entry["distribution"] == "acme-watch"
    }


def test_it_lists_where_a_callback_is_from_and_what_it_declares(listed) -> None:
    assert listed["watches"] == {
        "name": "watches",
        "distribution": "acme-watch",
        "version": "1.2.3",
        "value": "acme_watch:Watches",
        "core": "",
        "status": "usable",
        "reason": "",
        "example": "Watches",
        "reads": ["step.loss"],
        "writes": ["cbstate.watched"],
        "run_after": ["recorder"],
        "handles": [
            {"hook": "forward", "how": "overrides", "phases": []},
            {"hook": "on_step_end", "how": "handles", "phases": ["TrainingPhase"]},
        ],
    }


def test_one_that_needs_arguments_is_listed_by_what_its_class_declares(listed) -> None:
    assert (listed["needs"]["status"], listed["needs"]["reads"]) == ("usable", ["step.loss"])
    assert [handler["hook"] for handler in listed["needs"]["handles"]] == ["forward", "on_step_end"]
    assert re.match(r"Needs\.example\(\) raises TypeError: .*missing 1 required.*'n'", listed["needs"]["reason"])


@pytest.mark.parametrize("name", ["depends", "of_property"])
def test_what_depends_on_arguments_is_not_known_rather_than_nothing(listed, name) -> None:
    assert (listed[name]["reads"], listed[name]["writes"]) == (None, None)


def test_a_property_of_run_after_is_not_known_and_the_others_are(listed) -> None:
    assert (listed["of_property"]["run_after"], listed["depends"]["run_after"]) == (None, [])
    assert [handler["hook"] for handler in listed["depends"]["handles"]] == ["on_epoch_end"]


def test_its_example_says_what_one_with_arguments_declares(listed) -> None:
    entry = listed["of_example"]
    assert (entry["reason"], entry["writes"], entry["example"]) == (
        *("", ["cbstate.of_example"]),
        "Example('of_example')",
    )


def test_declarations_that_are_wrong_make_it_broken(listed) -> None:
    assert listed["wrong"]["status"] == "broken"
    assert "modle" in listed["wrong"]["reason"]


WIDE = """
from treadle import Callback, Write

class Wide(Callback):
    state_access = {f"cbstate.entry_{i}": Write for i in range(40)}
"""


def test_what_is_piped_is_a_line_for_each_and_as_long_as_it_has_to_be(treadle, install) -> None:
    install("acme-wide", WIDE, wide="Wide")
    done = treadle("plugins")
    (line,) = [line for line in done.out.splitlines() if line.startswith("wide ")]
    assert (done.status, "\x1b" in done.out, "…" in done.out) == (0, False, False)
    assert re.search(r"cbstate\.entry_9  -  +-$", line)
    assert all(f"cbstate.entry_{i}" in line for i in range(40))


def test_on_a_narrow_terminal_each_is_a_paragraph_and_nothing_is_cropped(treadle, install, monkeypatch) -> None:
    install("acme-watch", WATCHES, watches="Watches")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    out = re.sub("\x1b\\[[0-9;]*m", "", treadle("plugins").out)
    paragraph = out[out.index("watches  acme-watch 1.2.3") :].splitlines()[:5]
    assert [" ".join(line.split()) for line in paragraph] == [
        "watches acme-watch 1.2.3",
        "reads step.loss",
        "writes cbstate.watched",
        "runs after recorder",
        "handles forward, on_step_end",
    ]


def test_on_a_wide_terminal_it_is_a_table(treadle, install, monkeypatch) -> None:
    install("acme-watch", WATCHES, watches="Watches")
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    out = treadle("plugins").out
    assert re.search(
        r"^watches +acme-watch 1\.2\.3 +step\.loss +cbstate\.watched +recorder +forward, on_step_end", out, re.M
    )


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
        ("class It(:", "SyntaxError: "),
        ("import sys; sys.exit('licence expired')", "SystemExit: licence expired"),
        ("It = 42", "which is not a subclass of treadle.Callback"),
    ],
)
def test_a_broken_one_is_listed_with_its_reason_and_the_exit_status_is_1(treadle, install, source, reason) -> None:
    install("acme-broken", source, it="It")
    done = treadle("plugins")
    assert done.status == 1
    (line,) = [line for line in done.out.splitlines() if line.startswith("broken: it (acme-broken 1.2.3): ")]
    assert reason in line


def test_one_for_another_core_is_listed_with_both_versions(treadle, install) -> None:
    install("acme-later", "raise SystemExit", requires="treadle-core>=99,<100", it="It")
    done = treadle("plugins")
    assert done.status == 1
    assert "broken: it (acme-later 1.2.3): " in done.out
    assert "was written for treadle-core >=99,<100, and treadle-core " in done.out


def test_a_disabled_one_is_listed_and_not_imported_and_is_well(treadle, install, monkeypatch) -> None:
    install("acme-broken", "raise SystemExit", it="It")
    monkeypatch.setenv(plugins.DISABLE, "acme-broken")
    done = treadle("plugins")
    assert done.status == 0
    assert "disabled: it (acme-broken 1.2.3): TREADLE_DISABLE_PLUGINS leaves it out" in done.out


def test_one_name_of_two_distributions_is_broken(treadle, install) -> None:
    for name in ("twin-a", "twin-b"):
        install(name, "import treadle\nclass It(treadle.Callback): ...", it="It")
    done = treadle("plugins")
    assert done.status == 1
    assert "broken: it (twin-a 1.2.3): Several distributions have a plugin called 'it'" in done.out


HOOKS = "from treadle import hookimpl\n@hookimpl\ndef {name}(first, second): ..."


def test_hook_modules_are_listed_with_what_they_implement(treadle, install) -> None:
    install("acme-rules", HOOKS.format(name="resolve_conflict"), rules="")
    done = treadle("plugins")
    assert done.status == 0
    assert re.search(r"^module .*\nrules +acme-rules 1\.2\.3 +resolve_conflict$", done.out, re.MULTILINE)


def test_a_hook_module_that_matches_no_hook_is_broken(treadle, install, monkeypatch) -> None:
    install("acme-rules", HOOKS.format(name="resolve_everything"), rules="")
    done = treadle("plugins")
    assert done.status == 1
    assert "broken: rules (acme-rules 1.2.3): The plugin acme-rules:rules does not match Treadle's hooks" in done.out
    monkeypatch.setenv(plugins.DISABLE, "rules")
    assert "disabled: rules (acme-rules 1.2.3)" in treadle("plugins").out


def test_without_any_it_says_how_to_get_some(treadle, monkeypatch) -> None:
    monkeypatch.setattr(plugins, "installed", lambda group=None: ())
    done = treadle("plugins")
    assert (done.status, done.out.startswith("No plugins are installed.\nFix: install some")) == (0, True)
