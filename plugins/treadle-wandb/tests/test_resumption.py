"""A resumed run goes on with the run of its checkpoint."""

import os
import signal
import subprocess
import sys

import pytest
from treadle import toy_learner
from treadle_checkpoint import resume, save_run
from treadle_logging import LogChangedError, LogHyperParams, LogMetrics, LogRun, Value, log_to
from treadle_metrics import Metrics, Recorder
from treadle_schedule import Exp, LearningRate, Scheduler
from treadle_wandb.offline_file import cut, files_of, records, row_of, wait_for


def learner(backend):
    rates = Scheduler({LearningRate: Exp(start=0.001, decay=0.99)})
    loggers = LogMetrics(backend), LogHyperParams(backend), LogRun(backend, hyperparams={"lr": 0.001})
    return toy_learner(Recorder(), Metrics(), rates, *loggers, nbatches=4)


def test_the_history_of_a_resumed_run_is_that_of_the_run_that_never_stopped(make, history, tmp_path) -> None:
    whole, died = make(tmp_path / "whole"), make(tmp_path / "run")
    first = learner(whole)
    first.fit(1)
    first.fit(2)
    whole.close()

    first = learner(died)
    first.fit(1)
    save_run(first, tmp_path / "checkpoint")
    first.fit(1)  # what it logs here is past the checkpoint
    died.close()

    resumed = make(tmp_path / "run")
    second = learner(resumed)
    resume(second, tmp_path / "checkpoint")
    second.fit(2)
    resumed.close()

    assert resumed.run_id == died.run_id
    assert history(tmp_path / "run") == history(tmp_path / "whole")


KILLED = """
import os, signal, sys
from treadle_logging import Value, log_to
from treadle_wandb import WandbBackend
backend = WandbBackend(sys.argv[1], run_id="killed", settings={"silent": True, "console": "off"})
for i in range(500):
    log_to(backend, Value(i), "a", i)
backend.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_what_was_flushed_is_there_after_a_kill(read, tmp_path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert read(tmp_path) == [("a", i, i) for i in range(500)]


def test_the_run_of_another_folder_is_refused(make, read, tmp_path) -> None:
    backend = make(tmp_path / "one")
    log_to(backend, Value(1), "a", 1)
    position = backend.position()
    backend.close()
    with make(tmp_path / "two") as other:
        with pytest.raises(LogChangedError, match=r"does not have all that the run \w+ held when it was saved"):
            other.rewind(position)
        log_to(other, Value(2), "a", 1)
        other.flush()
        with pytest.raises(LogChangedError, match=r"logs to the run \w+, and the run that is resumed logged to \w+\."):
            other.rewind(position)
    assert [number for *_, number in read(tmp_path / "two")] == [2.0]


def test_a_row_that_is_missing_is_noticed(make, read, tmp_path) -> None:
    backend = make(tmp_path)
    for i in (1, 2, 3):
        log_to(backend, Value(i), "a", i, "Step")
    position = backend.position()
    backend.close()
    (file,) = files_of(tmp_path, position["run"])
    cut(file, 2)
    with make(tmp_path) as resumed, pytest.raises(LogChangedError, match="points may be missing or duplicated"):
        resumed.rewind(position)
    assert read(tmp_path) == [("Step/a", 1, 1.0), ("Step/a", 2, 2.0)]


def test_a_file_is_read_over_the_ends_of_its_blocks_and_cut_at_any_row(make, tmp_path) -> None:
    with make(tmp_path, run_id="long") as backend:
        for i in range(300):
            log_to(backend, Value(i), "a" * 150, i, "Step")
    (file,) = files_of(tmp_path, "long")
    assert file.stat().st_size > 2 * 2**15
    for step in (299, 150, 1, 0):
        cut(file, step)
        steps = [row["_step"] for *_, record in records(file) if (row := row_of(record))]
        assert steps == [*range(step)]


def test_a_service_that_writes_nothing_is_reported(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("treadle_wandb.offline_file.PATIENCE", 0.01)
    with pytest.raises(TimeoutError, match="W&B's service has not written all of the run to"):
        wait_for(tmp_path / "run-abc.wandb")
