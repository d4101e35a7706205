"""Two processes end alike, whatever is raised on one of them, and an error names the process that it came from."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from treadle import CancelEpochException, CancelFittingException, CancelStepException
from treadle_distributed.agreement.agreement import Place, lost
from treadle_distributed.agreement.requests import ProcessError, Request, effect

Results = list[dict[str, Any]]
SCRIPT = Path(__file__).with_name("agreement_runs.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """How the runs went on each of two processes."""
    if not torch.distributed.is_available() or sys.platform == "win32":
        pytest.skip("needs torch.distributed with gloo, and torchrun")
    folder = tmp_path_factory.mktemp("agreement")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(SCRIPT), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]


CANCELS = {
    "nothing": ([2, 8, 8], None),
    "update": ([2, 8, 7], None),
    "step": ([2, 7, 7], None),
    "epoch": ([1, 7, 7], None),
    "fit": ([0, 2, 3], ("good enough", False)),
    "before gradients": ([2, 8, 7], None),
    "for good": ([1, 4, 4], ("no progress", True)),
    "widest": ([0, 1, 1], ("good enough", False)),
    "error beside cancel": ([0, 1, 1], ("good enough", False)),  # the error would have come after the next point
    "nan": ([0, 2, 2], ("The loss is not finite.", False)),
    "training data": ([1, 3, 3], None),
    "printer": ([0, 3, 3], ("The disk is nearly full.", False)),
    "printer on one": ([0, 3, 3], ("The disk is nearly full.", False)),
    "afterwards": ([2, 8, 8], None),
}


@pytest.mark.parametrize("name", CANCELS)
def test_a_cancel_on_one_process_is_one_on_all_at_the_same_step_with_the_same_weights(
    results: Results, name: str
) -> None:
    progress, cancelled = CANCELS[name]
    first, second = (result[name] for result in results)
    assert first["error"] is second["error"] is None
    assert first["progress"] == second["progress"] == progress
    assert first["weight"] == second["weight"]
    for one in (first, second):
        assert (one["cancelled"] and tuple(one["cancelled"][1:])) == cancelled


def test_a_cancel_of_the_fit_is_of_the_same_class_on_all_with_what_it_holds(results: Results) -> None:
    for result in results:
        assert (result["spike"]["cancelled"], result["spike"]["loss"]) == (["Spike", "a spike", False], 7.5)
    assert [result["for good"]["cancelled"][0] for result in results] == ["Done", "Done"]


def test_a_cancel_whose_state_is_not_plain_or_whose_class_is_not_known_is_of_the_class_of_its_width() -> None:
    class Best(CancelFittingException):
        final = True

    best = Best("good enough")
    assert type(Request.of(0, best).raised_here()) is Best
    best.weight = torch.ones(1)
    unknown = Request.of(0, CancelFittingException("good enough"))
    unknown = replace(unknown, state=unknown.state.replace("treadle.errors:Cancel", "somewhere:Cancel"))
    for request, final in ((Request.of(0, best), True), (unknown, False)):
        cancel = request.raised_here()
        assert (type(cancel), str(cancel), cancel.final) == (CancelFittingException, "good enough", final)


@pytest.mark.parametrize(
    ("name", "rank", "kind", "text", "quoted"),
    [
        (
            "error",
            0,
            "ValueError",
            "row 17\nis broken",
            "ValueError: row 17\n    is broken\n    Raised by At in on_back",
        ),
        ("error in fit end", 1, "OSError", "disk full", "OSError: disk full\n    Raised by At in on_fit_end."),
        ("interrupt", 1, "KeyboardInterrupt", "", "KeyboardInterrupt\n    Raised by At in on_step_begin"),
        ("lost", 0, "FileNotFoundError", "rows_17.parquet", "FileNotFoundError: rows_17.parquet\n    Raised by Coll"),
    ],
)
def test_an_error_on_one_process_ends_the_other_by_one_that_quotes_it_and_names_the_process(
    results: Results, name: str, rank: int, kind: str, text: str, quoted: str
) -> None:
    failed, other = results[rank][name], results[1 - rank][name]
    assert failed["error"] == [kind, text]
    assert other["error"][0] == "ProcessError"
    assert other["error"][1].startswith(f"Process {rank} ended by an error, and with it all others:\n    {quoted}")
    assert other["error"][1].endswith(f"\nFix: look for its traceback in the output of process {rank}.")
    assert other["rank"] == rank
    assert (failed["progress"], failed["weight"]) == (other["progress"], other["weight"])


def test_who_waits_in_a_collective_for_one_that_has_ended_waits_no_longer_than_that_one(results: Results) -> None:
    assert all(result["lost"]["seconds"] < 15 for result in results)


def test_a_process_that_ends_without_a_word_is_missed(results: Results) -> None:
    kind, message = results[1]["gone"]["error"]
    assert kind == "ProcessError"
    assert re.match(
        r"Another process has ended, or has not come within the time limit to where this one is \('epoch' in epoch 1, "
        r"after 4 steps and 4 updates\): .*\nFix: look for the traceback",
        message,
    )


def test_who_has_no_batch_left_waits_in_validation_for_the_others(results: Results) -> None:
    assert [result["validation data"]["batches"] for result in results] == [4, 3]
    assert [result["training data"]["batches"] for result in results] == [3, 3]


def test_processes_with_other_callbacks_are_refused_before_the_first_step(results: Results) -> None:
    for result in results:
        kind, message = result["plans"]["error"]
        assert (kind, result["plans"]["progress"]) == ("ApartError", [0, 0, 0])
        assert message == (
            "Process 0 and process 1 would not call the same callbacks:\n"
            "    callbacks: process 0 has Engine, Guard, process 1 has Engine\n"
            "    TrainingPhase, on_backward_begin: process 0 has Guard, process 1 has none\n"
            "Fix: pass the same callbacks in every process; one that prints, logs or writes files takes part on the "
            "main process only if it says so:\n    main_process_only = True"
        )


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("apart", r"process 0 came to 'step end' .* 2 updates; process 1 to 'step end' .* 1 updates\."),
        ("alone", r"process 0 came to 'epoch begin' of EvaluationPhase .*; process 1 to 'epoch' in epoch 0"),
    ],
)
def test_processes_that_do_not_do_the_same_end_by_an_error_that_says_where_each_is(
    results: Results, name: str, places: str
) -> None:
    for result in results:
        kind, message = result[name]["error"]
        assert kind == "ApartError"
        assert re.match(rf"The processes have come apart: {places}", message)
        assert "\nFix: let every process do the same." in message


def test_of_equally_wide_requests_each_process_has_its_own_and_else_the_first() -> None:
    own = CancelStepException("mine")
    requests = [Request.of(0, CancelStepException("first")), Request.of(1, own), Request.of(2, None)]
    assert effect(own, requests) is own
    assert str(effect(None, requests)) == "first"
    wider = effect(own, [*requests, Request.of(3, CancelEpochException("wider"))])
    assert (type(wider), str(wider)) == (CancelEpochException, "wider")
    assert wider.__notes__ == ["Requested by process 3, as a CancelEpochException."]


def test_a_connection_that_is_lost_says_what_to_do() -> None:
    with pytest.raises(ProcessError, match=r"\('batch'\): Connection closed\nFix: .*\n    DDP\(timeout=3600\)$"):
        raise ProcessError(lost(Place("'batch'"), RuntimeError("Connection closed\nmore")))
