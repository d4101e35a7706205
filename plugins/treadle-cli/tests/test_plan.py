"""`treadle plan`."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from treadle import plugins

PLUGIN = '''
from treadle import Callback, Read, RunFirst, TrainingPhase, Unresolvable, Write, hookimpl
from treadle.errors import ArgumentValueError

class Keeper(Callback):
    """Writes an entry."""
    state_access = {"cbstate.kept": Write}
    def __init__(self, rate=0.1, names=(), text=""):
        if rate == 0:
            raise ArgumentValueError("Keeper(rate) must not be 0.\\nFix: pass another one.")
        if rate == 1:
            raise ZeroDivisionError("by one")
        self.rate, self.names, self.text = rate, names, text
        self.name = f"Keeper {rate!r} {names!r} {text!r}"
    def on_init(self):
        raise AssertionError("A plan initializes nothing.")
    def on_step_end(self, phase: TrainingPhase): ...

class Announcer(Callback):
    """Reads it."""
    state_access = {"cbstate.kept": Read}
    def on_step_end(self, phase: TrainingPhase): ...

class Needs(Announcer):
    """Needs an argument."""
    def __init__(self, folder, *, every=1): ...

class Rival(Callback):
    """Writes the same, and nobody says who is first."""
    state_access = {"cbstate.kept": Write}
    def on_step_end(self, phase: TrainingPhase): ...

class Around(Callback):
    @hookimpl(wrapper=True)
    def forward(self, phase: TrainingPhase):
        return (yield)
'''
NAMES = {"keeper": "Keeper", "announcer": "Announcer", "needs": "Needs", "rival": "Rival", "around": "Around"}


@pytest.fixture(autouse=True)
def plugin(install) -> None:
    install("acme-plan", PLUGIN, **NAMES)


def plan(treadle, *arguments):
    return treadle("plan", *arguments, "--no-defaults")


def test_it_prints_the_order_and_the_reasons_and_initializes_nothing(treadle) -> None:
    done = plan(treadle, "announcer", "keeper")
    assert (done.status, done.err) == (0, "")
    assert "  on_step_end  Keeper 0.1 () '' > Announcer\n" in done.out
    assert "Announcer before" not in done.out
    assert "  Announcer: acme-plan 1.2.3\n" in done.out
    assert plan(treadle, "keeper", "announcer").out == done.out


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("keeper:rate=0.5", "Keeper 0.5 () ''"),
        ("keeper:rate=5,names=(1,2),text=runs/x", "Keeper 5 (1, 2) 'runs/x'"),
        ("keeper:names=['a', 'b'], text=a,b", "Keeper 0.1 ['a', 'b'] 'a,b'"),
        ("keeper:text=C:\\runs", "Keeper 0.1 () 'C:\\\\runs'"),
        ("keeper:text='5'", "Keeper 0.1 () '5'"),
    ],
)
def test_arguments_are_literals_or_text(treadle, written, name) -> None:
    assert f"on_step_end  {name}\n" in plan(treadle, written).out


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("keper", r"There is no plugin called 'keper' installed\. Did you mean `keeper`\?(.|\n)*    treadle plugins"),
        ("needs", r"'needs' cannot be made with these arguments: missing a required argument: 'folder'\.\nFix: pass"),
        ("needs", r"that it takes, Needs\(folder, \*, every=1\):\n    treadle plan needs:folder=\.\.\."),
        ("needs:every=2", r"missing a required argument: 'folder'"),
        ("keeper:rat=2", r"got an unexpected keyword argument 'rat'(.|\n)*treadle plan keeper:rate=\.\.\."),
        ("keeper:2", r"'2', an argument of 'keeper', is not of the form name=value\.\nFix: pass the arguments"),
        ("keeper:rate=2,rate=3", r"'keeper' has the argument `rate` twice\.\nFix: write it once"),
        (
            "keeper:rate=0",
            r"'keeper' cannot be made: Keeper\(rate\) must not be 0\.\nFix: pass another one\.\nOn the com",
        ),
        ("keeper:rate=1", r"'keeper' cannot be made: Keeper raises ZeroDivisionError: by one"),
    ],
)
def test_a_name_or_an_argument_that_is_wrong_is_wrong_use(treadle, written, message) -> None:
    done = plan(treadle, written)
    assert (done.status, done.out) == (2, "")
    assert re.search(message, done.err)


def test_a_broken_one_ends_with_1_and_a_disabled_one_with_2(treadle, install, monkeypatch) -> None:
    install("acme-broken", "import nowhere", broken="It")
    done = plan(treadle, "broken")
    assert done.status == 1
    assert re.match(r"Error: The plugin 'broken' .* cannot be imported: ModuleNotFoundError", done.err)
    monkeypatch.setenv(plugins.DISABLE, "broken")
    done = plan(treadle, "broken")
    assert done.status == 2
    assert "is disabled.\nFix: take it out of TREADLE_DISABLE_PLUGINS" in done.err


def test_conflicts_end_with_1_and_say_how_to_fix_them(treadle) -> None:
    done = plan(treadle, "keeper", "rival")
    assert (done.status, done.out) == (1, "")
    assert "both write `cbstate.kept`, and nothing orders them." in done.err
    assert "Fix: leave one of them out, or choose which runs first" in done.err
    assert "Traceback" not in done.err


def test_conflicts_are_json_too(treadle) -> None:
    done = plan(treadle, "keeper", "rival", "--json")
    (problem,) = json.loads(done.out)["problems"]
    assert (done.status, problem["callbacks"], problem["refused"]) == (1, ["Keeper 0.1 () ''", "Rival"], False)
    assert problem["fix"].startswith("leave one of them out")
    assert "Rival (acme-plan 1.2.3)" in problem["origin"]


def test_a_hook_module_can_be_named_beside_those_that_it_knows(treadle, install) -> None:
    source = """
from treadle import RunFirst, hookimpl
@hookimpl
def resolve_conflict(first, second):
    return RunFirst(first if type(first).__name__ == "Rival" else second)
"""
    install("acme-rules", source, acme_rules="")
    assert "  on_step_end  Rival > Keeper 0.1 () ''\n" in plan(treadle, "keeper", "rival", "acme_rules").out


def test_as_json_it_has_the_rows_the_rings_and_the_reasons(treadle) -> None:
    found = json.loads(plan(treadle, "announcer", "keeper", "around", "--json").out)
    assert found["callbacks"] == ["Announcer", "Around", "Keeper 0.1 () ''"]
    assert {
        "phase": "TrainingPhase",
        "hook": "on_step_end",
        "around": [],
        "callbacks": ["Keeper 0.1 () ''", "Announcer"],
    } in found["rows"]
    assert {"phase": "TrainingPhase", "hook": "forward", "around": ["Around"], "callbacks": []} in found["rows"]
    (edge,) = found["edges"]
    assert (edge["before"], edge["after"], edge["hooks"]) == ("Keeper 0.1 () ''", "Announcer", ["on_step_end"])
    assert re.fullmatch("[0-9a-f]{16}", found["digest"])


def test_it_is_drawn_as_mermaid_and_as_svg(treadle) -> None:
    assert plan(treadle, "around", "--mermaid").out == 'flowchart LR\n    c0["Around"]\n'
    svg = plan(treadle, "around", "--svg").out
    assert svg.startswith("<svg ")
    assert ">Around</text>" in svg


def test_two_formats_at_once_are_wrong_use(treadle) -> None:
    done = plan(treadle, "around", "--svg", "--json")
    assert done.status == 2
    assert "--svg and --json cannot be printed at once.\nFix: choose one of them." in done.err


SCRIPT = """
import helper
from treadle import Callback, Learner, Write, toy_learner

class Mine(Callback):
    state_access = {"cbstate.mine": Write}
    def on_step_end(self): ...

print("imported")
learner = toy_learner(Mine())

def make():
    return toy_learner("around")

def conflict():
    return toy_learner("keeper", "rival")

def with_argument(n): ...

def number():
    return 42

def fails():
    helper.fail()

if __name__ == "__main__":
    raise SystemExit("was run")
"""
HELPER = 'def fail():\n    raise ZeroDivisionError("in the helper")\n'


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The path of a script with a module beside it; what is imported of the two is forgotten afterwards."""
    (tmp_path / "acme_script.py").write_text(SCRIPT)
    (tmp_path / "helper.py").write_text(HELPER)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    yield tmp_path / "acme_script.py"
    for name in ("acme_script", "helper"):
        sys.modules.pop(name, None)


def test_a_learner_of_a_script_is_planned_and_the_script_is_not_run(treadle, script) -> None:
    done = treadle("plan", f"{script}:learner")
    assert (done.status, done.err) == (0, "imported\n")  # its own output is not in the way of ours
    assert "  on_step_end  Mine\n" in done.out


def test_a_function_that_returns_a_learner_will_do(treadle, script) -> None:
    assert "around: Around" in treadle("plan", f"{script}:make").out


def test_conflicts_in_a_script_are_shown_as_those_of_names(treadle, script) -> None:
    done = treadle("plan", f"{script}:conflict")
    assert done.status == 1
    assert "nothing orders them" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            ":lerner",
            r"has no 'lerner'\. Did you mean `learner`\?\nFix: name a learner, or a function that returns one:",
        ),
        (
            ":with_argument",
            r"with_argument cannot be called without arguments: missing a required argument: 'n'\.\nFix",
        ),
        (":number", r"number\(\) has the type int, and is not a Learner\.\nFix: name a learner"),
        (":Mine", r"Mine\(\) has the type Mine, and is not a Learner"),
        ("", r"does not say which learner of the script is meant\.\nFix: name it, or a function without arguments"),
    ],
)
def test_what_is_not_a_learner_is_wrong_use(treadle, script, name, message) -> None:
    done = treadle("plan", f"{script}{name}")
    assert (done.status, done.out) == (2, "")
    assert re.search(message, done.err)
    assert "Traceback" not in done.err


def test_a_script_that_is_not_there_is_wrong_use(treadle) -> None:
    done = treadle("plan", "nowhere.py:learner")
    assert done.status == 2
    assert re.search(r"There is no script 'nowhere\.py'\.\nFix: correct the path, which is seen from ", done.err)


def test_a_script_goes_alone_and_has_its_own_default_callbacks(treadle, script) -> None:
    beside = treadle("plan", f"{script}:learner", "around")
    assert (beside.status, beside.out) == (2, "")
    assert "is not alone.\nFix: name the script only" in beside.err
    for option, value in (("--no-defaults", False), ("--defaults", True)):
        chosen = treadle("plan", f"{script}:learner", option)
        assert (chosen.status, chosen.out) == (2, "")
        assert chosen.err == (
            "Error: A script's learner has the default callbacks that it was made with.\n"
            f"Fix: leave out {option}, or decide it in the script:\n    Learner(..., use_default_callbacks={value})\n"
        )


def test_a_script_that_fails_shows_its_own_traceback_and_nothing_of_ours(treadle, script) -> None:
    done = treadle("plan", f"{script}:fails")
    assert (done.status, done.out) == (1, "")
    files = re.findall(r'File "(.*)", line', done.err)
    assert [Path(file).name for file in files] == ["acme_script.py", "helper.py"]
    assert done.err.endswith("ZeroDivisionError: in the helper\nError: acme_script.py failed, as shown above.\n")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(:", r'File ".*acme_script\.py", line 1(.|\n)*SyntaxError'),
        ("import nowhere_to_be_found", r"ModuleNotFoundError: No module named 'nowhere_to_be_found'\nError: acme_scr"),
        ("raise SystemExit(3)", r"acme_script\.py ended the program \(SystemExit: 3\)(.|\n)*Fix: (.|\n)*__main__"),
    ],
)
def test_a_script_that_cannot_be_imported_ends_with_1(treadle, script, source, message) -> None:
    script.write_text(source)
    done = treadle("plan", f"{script}:learner")
    assert done.status == 1
    assert re.search(message, done.err)
