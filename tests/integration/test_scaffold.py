"""The way of a plugin: made by `treadle new`, built, installed into a fresh environment, tested, listed, trained with.

With real wheels, real pip and real environments.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT / "tests")
    from environment import Environment, needed, run

TRAIN = """
from treadle import toy_learner
learner = toy_learner("loss_spike")
result = learner.fit(2)
print(result.steps, learner.get_callback(type(learner.callbacks[0])), bool(learner.cbstate.loss_spike < 1000))
"""


def build(folder: Path, target: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, folder)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheels of the core and of the command, and later that of the plugin."""
    target = tmp_path_factory.mktemp("wheels")
    for folder in (ROOT / "core", ROOT / "plugins" / "treadle-cli"):
        build(folder, target)
    return target


def environment(folder: Path, wheels: Path) -> Environment:
    made = Environment(folder, wheels)
    made.link(needed("treadle-cli"))
    made.install("treadle-cli")
    return made


@pytest.fixture(scope="module")
def project(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `treadle new` made, where it was installed from its wheel."""
    folder = tmp_path_factory.mktemp("projects")
    author = environment(tmp_path_factory.mktemp("author") / "venv", wheels)
    command = [author.python.parent / "treadle", "new", "treadle-loss-spike", "--folder", folder, "--json"]
    made = json.loads(run(*command))
    build(Path(made["folder"]), wheels)
    return Path(made["folder"])


@pytest.fixture(scope="module")
def fresh(project: Path, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment, in which the wheel of the project is installed."""
    made = environment(tmp_path_factory.mktemp("user") / "venv", wheels)
    made.install("treadle-loss-spike")
    return made


def test_the_project_is_well_formed_code(project: Path) -> None:
    settings = ["--config", ROOT / "pyproject.toml", "--no-cache", "--ignore", "D,I001"]  # tests without docstrings
    run(sys.executable, "-m", "ruff", "check", *settings, project)
    run(sys.executable, "-m", "ruff", "format", "--config", ROOT / "pyproject.toml", "--no-cache", "--check", project)


def test_the_wheel_installed_into_a_fresh_environment_trains(fresh: Environment) -> None:
    assert run(fresh.python, "-I", "-W", "ignore", "-c", TRAIN).split() == ["32", "<LossSpike>", "True"]


def test_treadle_lists_it_and_finds_it_well(fresh: Environment) -> None:
    command = fresh.python.parent / "treadle"
    (listed,) = json.loads(run(command, "plugins", "--json"))["callbacks"]
    assert (listed["name"], listed["distribution"], listed["status"]) == ("loss_spike", "treadle-loss-spike", "usable")
    assert (listed["reads"], listed["writes"]) == (["step.loss"], ["cbstate.loss_spike"])
    assert run(command, "check").endswith("1 callbacks, 0 pairs: 0 ordered, 0 compatible, 0 refused, 0 unresolved.\n")
    assert "on_step_end  LossSpike" in run(command, "plan", "loss_spike:warmup=10")


def test_its_own_tests_pass_where_the_wheel_is_installed(fresh: Environment, project: Path) -> None:
    fresh.link(needed("pytest"))
    command = [fresh.python, "-I", "-m", "pytest", "-q", "-p", "no:cacheprovider", project / "tests"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    counted = dict(reversed(count.split()) for count in re.findall(r"\d+ (?:passed|failed|skipped)", done.stdout))
    assert counted.keys() == {"passed"}
    assert int(counted["passed"]) > 10  # those of the contract are among them
