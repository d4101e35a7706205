"""What `DDP` trains, `Checkpointer` saves and `resume` goes on with: two processes, by torchrun and gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    if not torch.distributed.is_available():
        pytest.skip("needs torch.distributed")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, str(Path(__file__).parent / "saved_runs.py"), str(tmp_path_factory.mktemp("saved"))]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-5000:]
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return sorted(lines, key=lambda line: line["rank"])


def test_resumed_at_every_step_a_run_of_ddp_is_bit_equal_to_the_one_that_never_stopped(
    found: list[dict[str, Any]],
) -> None:
    assert [len(line["at every step"]) for line in found] == [7, 7]
    assert all(all(line["at every step"]) for line in found)


def test_a_signal_that_one_process_receives_saves_and_ends_the_fit_on_all(found: list[dict[str, Any]]) -> None:
    assert [line["signal"] for line in found] == [["Received SIGTERM.", 2, True]] * 2


def test_a_cancel_of_one_process_ends_the_fit_on_all_and_is_saved_as_if_none_had_asked_for_more(
    found: list[dict[str, Any]],
) -> None:
    assert [line["cancel, end"] for line in found] == [["Alone.", 1, True]] * 2
    assert [line["cancel, begin"][:2] for line in found] == [["Alone.", 1]] * 2


def test_a_cancel_of_one_process_where_a_save_is_due_ends_the_fit_on_all(found: list[dict[str, Any]]) -> None:
    assert [line["cancel, due"] for line in found] == [["Alone.", 1, True]] * 2


def test_an_epoch_that_one_process_cancels_where_it_begins_is_cancelled_on_all(found: list[dict[str, Any]]) -> None:
    assert [line["epoch begin"] for line in found] == [[1, 3]] * 2
