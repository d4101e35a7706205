"""A twentieth of the campaign of interrupts; `make campaigns` runs all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CAMPAIGN = Path(__file__).parent / "campaigns" / "interrupts.py"


def test_after_an_interrupt_at_any_line_the_learner_is_clean_and_works() -> None:
    done = subprocess.run([sys.executable, str(CAMPAIGN), "20", "3"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1].split()[-2:]) == (0, ["0", "problems"]), (
        done.stdout + done.stderr
    )
