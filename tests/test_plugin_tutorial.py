"""The plugin that the tutorial writes: made, tested, built, checked and installed by the page's commands, offline."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tutorials" / "plugin.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT / "tests")
    from environment import Environment, needed, run

PYTHON = str(sys.executable)
TREADLE = str(shutil.which("treadle", path=str(Path(sys.executable).parent)))


def file(first_line: str) -> str:
    """The block of Python that begins with a line."""
    (found,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if block.startswith(first_line)]
    return found


@pytest.fixture(scope="module")
def do(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """A function that runs a command of the page, written for this environment, in the folder of the project."""
    above = tmp_path_factory.mktemp("tutorial")

    def do(command: str, *arguments: str | Path, cwd: str = "treadle-loss-spike", path: str = "") -> str:
        assert command in COMMANDS
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(arguments, cwd=above / cwd, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    made = do("treadle new treadle-loss-spike", TREADLE, "new", "treadle-loss-spike", cwd=".")
    assert made in PAGE
    project = above / "treadle-loss-spike"
    (project / "src/treadle_loss_spike/loss_spike.py").write_text(file('"""`LossSpike`'))
    (project / "tests/test_loss_spike.py").write_text(file("# not run: it imports the plugin"))
    do("python -m build", PYTHON, "-m", "build", "--no-isolation")
    return do


@pytest.fixture(scope="module")
def site(do, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder in which the wheel is installed, for the Python of the tests to find."""
    target = tmp_path_factory.mktemp("site")
    options = ("--quiet", "--no-deps", "--no-index", "--target", target)
    wheel = "dist/treadle_loss_spike-0.1.0-py3-none-any.whl"
    do('pip install -e ".[test]"', PYTHON, "-m", "pip", "install", *options, wheel)
    return str(target)


def test_its_tests_pass(do, site) -> None:
    command = (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    counts = re.findall(r"\d+ (passed|failed|skipped)", do("pytest", *command, path=site))
    assert counts == ["passed"]


def test_it_combines_with_what_is_installed(do, site) -> None:
    plan = "treadle plan loss_spike early_stopping:patience=3"
    assert "LossSpike" in do(plan, TREADLE, *plan.split()[1:], path=site)
    assert ", 0 unresolved." in do("treadle check", TREADLE, "check", path=site)


def test_what_was_built_can_be_uploaded(do) -> None:
    files = ("dist/treadle_loss_spike-0.1.0-py3-none-any.whl", "dist/treadle_loss_spike-0.1.0.tar.gz")
    command = "python -m twine check --strict dist/*"
    assert do(command, PYTHON, "-m", "twine", "--no-color", "check", "--strict", *files).count("PASSED") == 2


def test_a_user_finds_it_in_a_fresh_environment_and_trains_with_it(do, tmp_path) -> None:
    for folder in ("core", "plugins/treadle-cli"):
        run(PYTHON, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "wheels", ROOT / folder)
    fresh = Environment(tmp_path / "fresh", tmp_path / "wheels")
    fresh.link(needed("treadle-cli"))
    wheel = "dist/treadle_loss_spike-0.1.0-py3-none-any.whl"
    pip = (PYTHON, "-m", "pip", "--isolated", "--python", fresh.python)
    install = ("install", "--quiet", "--no-index", "--find-links", fresh.wheels, wheel, "treadle-cli")
    do(f"fresh/bin/pip install {wheel} treadle-cli", *pip, *install)
    listed = do("fresh/bin/treadle plugins", fresh.python.parent / "treadle", "plugins")
    assert "treadle-loss-spike 0.1.0" in " ".join(listed.split())
    code = "from treadle import toy_learner; print(toy_learner('loss_spike').fit(1))"
    trained = do(f'fresh/bin/python -c "{code}"', fresh.python, "-W", "ignore", "-c", code)
    assert trained == "FitResult(epochs=1, steps=16, cancelled=None)\n"


def test_the_page_says_which_commands_take_the_reader_from_the_first_to_the_last_step() -> None:
    words = ["treadle new", "pytest", "python -m build", "treadle plugins", "treadle plan", "treadle check"]
    places = [next(i for i, command in enumerate(COMMANDS) if word in command) for word in [*words, "twine upload"]]
    assert places[1:] == sorted(places[1:])
