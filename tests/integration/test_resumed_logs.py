"""The logs of a run that was killed and resumed are those of the run that never stopped."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("killed_logs.py")
RUNS = [
    "in an epoch",
    "right after a checkpoint",
    "twice, the second time before another checkpoint",
    "started again when it had finished",
    "over and over, last in the last step",
]


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """What the logs of each run hold, by the run's name."""
    command = [sys.executable, PROGRAM, tmp_path_factory.mktemp("runs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_run_that_never_stopped_logged_each_point_once(logs):
    rows = [line.rsplit(",", 1)[0] for line in logs["never"]["csv"].splitlines()]
    assert len(set(rows)) == len(rows) == 1 + 1 + 2 * 4 * 8 + 2 * 4 + 4 * 8 + 4 * 8
    for tag, points in logs["never"]["points"].items():
        expected = {"Epoch": range(1, 5), "Note": [0]}.get(tag.split("/")[0], range(1, 33))
        expected = {"Histograms": range(1, 33, 5), "HParams": range(32)}.get(tag.split("/")[1], expected)
        assert [step for step, _ in points] == list(expected), tag


@pytest.mark.parametrize("run", RUNS)
def test_the_csv_file_of_a_killed_and_resumed_run_is_equal_byte_for_byte(logs, run):
    assert logs[run]["csv"] == logs["never"]["csv"]


@pytest.mark.parametrize("run", RUNS)
def test_the_event_files_of_a_killed_and_resumed_run_have_each_point_once(logs, run):
    assert logs[run]["points"] == logs["never"]["points"]
