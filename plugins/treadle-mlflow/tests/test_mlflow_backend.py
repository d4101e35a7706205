import io
import json
import math
import os
import subprocess
import sys
import wave
from pathlib import Path

import pytest
import torch
from treadle.errors import ArgumentTypeError, ArgumentValueError
from treadle_logging import (
    Audio,
    BackendClosedError,
    File,
    Graph,
    Histogram,
    HyperParams,
    Image,
    Text,
    Value,
    log_to,
)
from treadle_mlflow import MLflowBackend


def artifacts(backend: MLflowBackend) -> Path:
    """The folder of the run's artifacts."""
    return next(Path(backend.store, "artifacts").glob(f"{backend.run_id}/artifacts"))


def info(backend: MLflowBackend):
    return backend._client.get_run(backend.run_id)


def fail_after_a_number(backend: MLflowBackend) -> None:
    log_to(backend, Value(1), "a", 1)
    raise ZeroDivisionError


def test_numbers_are_metrics_under_their_tags_and_steps(make, read, tmp_path) -> None:
    with make(tmp_path) as backend:
        for i, number in [(1, 0.1), (2, -3.25), (10, math.nan)]:
            log_to(backend, Value(number), "Loss", i, group=("Step", "TrainingPhase", "Metrics"))
    found = read(tmp_path)
    assert [(tag, i) for tag, i, _ in found] == [("Step/TrainingPhase/Metrics/Loss", i) for i in (1, 2, 10)]
    assert [number for *_, number in found][:2] == [0.1, -3.25]
    assert math.isnan(found[2][2])


def test_hyperparameters_are_parameters(make, tmp_path) -> None:
    with make(tmp_path) as backend:
        log_to(backend, HyperParams({"lr": 0.1, "optimizer": "sgd", "amp": True}), "HParams", 0)
    assert info(backend).data.params == {"lr": "0.1", "optimizer": "sgd", "amp": "True"}


def test_an_image_is_a_png_file(make, tmp_path) -> None:
    pixels = torch.arange(18, dtype=torch.uint8).reshape(3, 2, 3)
    with make(tmp_path) as backend:
        log_to(backend, Image(pixels), "Visualization", 7, "Step")
    assert (artifacts(backend) / "Step/Visualization/00000007.png").read_bytes() == Image(pixels).png


def test_sound_text_and_files_are_there_as_they_were(make, tmp_path) -> None:
    with make(tmp_path) as backend:
        log_to(backend, Audio([[0.0, 1.0], [-1.0, 0.0]], 8000), "Beep", 2)
        log_to(backend, Text("# Notes\näöü"), "Notes", 3)
        log_to(backend, File("some/weights.bin", b"\xff\x00"), "Weights", 4)
    with wave.open(io.BytesIO((artifacts(backend) / "Beep/00000002.wav").read_bytes())) as sound:
        assert (sound.getnchannels(), sound.getnframes(), sound.getframerate()) == (2, 2, 8000)
    assert (artifacts(backend) / "Notes/00000003.txt").read_text(encoding="utf-8") == "# Notes\näöü"
    assert (artifacts(backend) / "Weights/00000004-weights.bin").read_bytes() == b"\xff\x00"


def test_a_histogram_is_a_file_with_counts_and_edges(make, tmp_path) -> None:
    with make(tmp_path) as backend:
        log_to(backend, Histogram([0.0, 1.0, 1.0, math.inf]), "0.weight", 5, ("Histograms",))
    found = json.loads((artifacts(backend) / "Histograms/0.weight/00000005.json").read_text())
    assert (sum(found["counts"]), found["edges"][0], found["edges"][-1]) == (3, 0.0, 1.0)


def test_a_graph_is_not_supported(make, tmp_path, warnings) -> None:
    with make(tmp_path) as backend:
        log_to(backend, Graph(torch.nn.Linear(1, 1), torch.ones(1, 1)), "Graph", 0)
    assert "MLflowBackend does not support Graph" in warnings[0]


def test_metrics_are_written_a_thousand_at_a_time(make, read, tmp_path) -> None:
    backend = make(tmp_path)
    for i in range(999):
        log_to(backend, Value(i), "Loss", i)
    assert read(tmp_path) == []
    log_to(backend, Value(999), "Loss", 999)
    assert read(tmp_path) == [("Loss", i, i) for i in range(1000)]
    backend.close()


def test_without_anything_to_write_there_is_no_run(make, tmp_path) -> None:
    with make(tmp_path) as backend:
        backend.flush()
    assert backend.run_id is None


def test_a_run_says_how_it_ended(make, tmp_path) -> None:
    with make(tmp_path, run_name="good") as good:
        log_to(good, Value(1), "a", 1)
    with pytest.raises(ZeroDivisionError), make(tmp_path) as bad:
        fail_after_a_number(bad)
    assert (info(good).info.run_name, info(good).info.status) == ("good", "FINISHED")
    assert info(bad).info.status == "FAILED"


def test_a_run_can_be_gone_on_with(make, read, tmp_path) -> None:
    with make(tmp_path) as first:
        log_to(first, Value(1), "a", 1)
    with make(tmp_path, run_id=first.run_id) as second:
        assert info(second).info.status == "RUNNING"
        log_to(second, Value(2), "a", 2)
    assert second.run_id == first.run_id
    assert read(tmp_path) == [("a", 1, 1.0), ("a", 2, 2.0)]


def test_nothing_is_written_outside_of_the_folder(make, tmp_path, monkeypatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with make(tmp_path / "runs") as backend:
        log_to(backend, Value(1), "a", 1)
        log_to(backend, Text("hello"), "b", 1)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["artifacts", "mlflow.db"]


# The child looks up no host and opens no connection; nothing that CI or pytest set keeps MLflow from it.
ALONE = """
import os, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        print(event, arguments, flush=True)
sys.addaudithook(refuse)
from treadle_logging import Value, log_to
from treadle_mlflow import MLflowBackend
assert "mlflow" not in sys.modules, "it is imported when a backend is made"
with MLflowBackend(sys.argv[1]) as backend:
    log_to(backend, Value(1), "a", 1)
from mlflow.telemetry import get_telemetry_client
assert get_telemetry_client() is None
assert "MLFLOW_DISABLE_TELEMETRY" not in os.environ
"""


def test_a_store_in_a_folder_needs_no_network(empty, tmp_path) -> None:
    of_ci = ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    environment = {name: value for name, value in os.environ.items() if name not in of_ci}
    (tmp_path / "mlflow.db").write_bytes(empty.read_bytes())
    command = [sys.executable, "-c", ALONE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("name", ["Top-5 (%)", "a//b", "../a", "/a", "a" * 251])
def test_a_name_that_mlflow_does_not_take_is_refused_at_once(make, tmp_path, name: str) -> None:
    backend = make(tmp_path)
    with pytest.raises(ArgumentValueError, match=r"MLflow takes no name such as .*\nFix: name it without other char"):
        log_to(backend, Value(1), name, 1)
    with pytest.raises(ArgumentValueError, match="MLflow takes no name such as"):
        log_to(backend, HyperParams({name: 1}), "HParams", 1)
    backend.close()


def test_nothing_is_logged_after_closing(make, tmp_path) -> None:
    backend = make(tmp_path)
    log_to(backend, Value(1), "a", 1)
    backend.close()
    with pytest.raises(BackendClosedError, match=rf"was closed\.\nFix: go on with its run:\n.*{backend.run_id}"):
        log_to(backend, Value(1), "a", 2)


def test_what_it_is_made_with_is_checked(make, tmp_path) -> None:
    with pytest.raises(ArgumentTypeError, match=r"MLflowBackend\(store\) must be a path"):
        MLflowBackend(3)
    with pytest.raises(ArgumentTypeError, match=r"MLflowBackend\(experiment\) must be an instance of str"):
        MLflowBackend(tmp_path, experiment=3)
    with pytest.raises(ArgumentTypeError, match=r"MLflowBackend\(run_name\) must be an instance of str"):
        MLflowBackend(tmp_path, run_name=3)
    with pytest.raises(ArgumentValueError, match=r"cannot go on with the run nowhere, which is missing there"):
        make(tmp_path, run_id="nowhere")


def test_a_store_that_cannot_be_used_is_refused(make, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentValueError, match=r"MLflowBackend cannot write to .*: File exists"):
        MLflowBackend(tmp_path / "file")
    with pytest.raises(ArgumentValueError, match=r"MLflow cannot use 'nothing://here' with the experiment 'treadle'"):
        MLflowBackend("nothing://here")


def test_an_experiment_that_was_deleted_is_refused(make, tmp_path) -> None:
    backend = make(tmp_path)
    backend._client.delete_experiment(backend._experiment)
    with pytest.raises(ArgumentValueError, match=r"The experiment 'test' of .* was deleted\.\nFix: restore it, or"):
        make(tmp_path)
