"""A tenth of each campaign; `make campaigns` runs all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGNS = Path(__file__).parent / "campaigns"


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("interrupts.py", id="an interrupt at any line leaves a clean learner that works"),
        pytest.param("resumes.py", id="a run resumed from any point is the run that never stopped"),
    ],
)
def test_a_tenth_of_the_campaign_finds_nothing(script: str) -> None:
    command = [sys.executable, str(CAMPAIGNS / script), "10", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1].partition(", ")[2].split()[-2:]) == (0, ["0", "problems"]), (
        done.stdout + done.stderr
    )
