"""The plugin that the tutorial writes: made by `treadle new`, filled with the page's files, it passes its tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tutorials" / "plugin.md").read_text(encoding="utf-8")


def file(first_line: str) -> str:
    """The block of Python that begins with a line."""
    (found,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if block.startswith(first_line)]
    return found


def run(*command: str, cwd: Path, path: str = "") -> str:
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_plugin_of_the_page_passes_its_tests_is_listed_and_combines(tmp_path) -> None:
    treadle = shutil.which("treadle", path=str(Path(sys.executable).parent))
    assert treadle is not None
    made = run(treadle, "new", "treadle-loss-spike", cwd=tmp_path)
    assert made in PAGE
    project = tmp_path / "treadle-loss-spike"
    (project / "src/treadle_loss_spike/loss_spike.py").write_text(file('"""`LossSpike`'))
    (project / "tests/test_loss_spike.py").write_text(file("# not run: it imports the plugin"))
    site = str(tmp_path / "site")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", site)
    run(sys.executable, "-m", "pip", "install", *options, ".", cwd=project)
    pytest = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert re.search(r"\d+ passed", run(*pytest, "tests", cwd=project, path=site))
    assert "treadle-loss-spike 0.1.0" in " ".join(run(treadle, "plugins", cwd=tmp_path, path=site).split())
    assert "LossSpike" in run(treadle, "plan", "loss_spike", "early_stopping:patience=3", cwd=tmp_path, path=site)


def test_the_page_says_which_commands_take_the_reader_from_the_first_to_the_last_step() -> None:
    commands = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)
    words = ["treadle new", "pytest", "python -m build", "treadle plugins", "treadle plan", "treadle check"]
    places = [next(i for i, command in enumerate(commands) if word in command) for word in [*words, "twine upload"]]
    assert places[1:] == sorted(places[1:])
