import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the process that is killed")
def test_killed_at_any_moment_the_newest_checkpoint_is_whole_and_the_run_goes_on_from_it(tmp_path):
    program = Path(__file__).with_name("killed.py")
    done = subprocess.run([sys.executable, program, tmp_path], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    kills = {line.rpartition(": ")[0]: int(line.rpartition(": ")[2]) for line in done.stdout.splitlines()}
    assert list(kills) == ["killed at every change", "killed at a random change", "killed at a random moment"]
    assert sum(kills.values()) >= 200
