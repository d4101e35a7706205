"""`treadle demo`, as `make demo` runs it: the digits, learned through callbacks of several distributions."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "plugins" / "treadle-cli" / "src" / "treadle_cli" / "digits.py"
COMMAND = "from treadle_cli import main; main()"


def run(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", COMMAND, "demo"], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return folder, run(folder)


def test_the_script_has_at_most_40_lines():
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 40


def test_it_prints_the_plugins_the_plan_and_the_table_and_no_bar_where_it_is_piped(demo):
    _, output = demo
    assert "Installed callbacks: " in output
    assert "metrics, metrics_printer" in output
    assert "Metrics before MetricsPrinter" in output
    assert "\r" not in output
    assert "%|" not in output
    assert "epoch  phase                  Loss    Accuracy" in output


def test_it_reaches_97_percent_on_digits_that_it_was_not_trained_with(demo):
    folder, _ = demo
    with open(folder / "runs/digits/history.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["phase"] == "ValidationPhase"]
    assert len(rows) == 15
    assert float(rows[-1]["Accuracy"]) >= 0.97


def test_it_leaves_the_curves_and_the_plan_as_pictures(demo):
    folder, output = demo
    assert "In runs/digits: curves.png, history.csv, plan.svg\n" in output
    assert (folder / "runs/digits/curves.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "runs/digits/plan.svg").read_text(encoding="utf-8").startswith("<svg ")


def test_it_can_be_run_again_in_the_same_folder_and_learns_the_same(demo):
    folder, _ = demo
    history = folder / "runs/digits/history.csv"
    first = history.read_text(encoding="utf-8")
    run(folder)
    assert history.read_text(encoding="utf-8") == first
