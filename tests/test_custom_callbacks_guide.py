"""The plugin that docs/custom-callbacks.md makes at its end can be built, installed, found and used."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "custom-callbacks.md").read_text(encoding="utf-8")

PROGRAM = """
import sys
from treadle import plugins, toy_learner
assert "printer" in {plugin.name for plugin in plugins.installed("treadle.callbacks")}
assert "treadle_printer" not in sys.modules
learner = toy_learner("printer", "recorder", nbatches=2)
learner.fit(1)
print(learner.plan())
"""


def block_of(file: str) -> str:
    """The code block that the page puts below the name of a file."""
    return re.search(rf"^`{re.escape(file)}`:\n\n```\w+\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[1]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the guide's plugin installed in it."""
    package = tmp_path / "treadle-printer" / "src" / "treadle_printer"
    package.mkdir(parents=True)
    (package / "printer.py").write_text(block_of("src/treadle_printer/printer.py"))
    (package / "__init__.py").write_text(re.search(r"`(from treadle_printer\.printer .*)`", PAGE)[1] + "\n")
    (tmp_path / "treadle-printer" / "pyproject.toml").write_text(block_of("pyproject.toml"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*pip, "--target", tmp_path / "site", tmp_path / "treadle-printer"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return tmp_path / "site"


def test_the_guides_plugin_is_found_by_name_and_runs_where_its_declarations_put_it(site: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["step 1: loss 133.5000", "step 2: loss 208.3627"]
    assert "  on_step_end     Recorder > Printer" in lines
    assert "  Printer: treadle-printer 0.1.0" in lines
