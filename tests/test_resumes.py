"""A tenth of the campaign of resumes; `make campaigns` runs all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CAMPAIGN = Path(__file__).parent / "campaigns" / "resumes.py"


def test_a_run_resumed_from_any_point_is_the_run_that_never_stopped() -> None:
    done = subprocess.run([sys.executable, str(CAMPAIGN), "10", "3"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1].split()[-2:]) == (0, ["0", "problems"]), (
        done.stdout + done.stderr
    )
