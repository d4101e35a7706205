import io
import json
import math
import os
import subprocess
import sys
import wave
from pathlib import Path

import PIL.Image
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
from treadle_wandb import WandbBackend
from treadle_wandb.offline_file import files_of, records


def of_kind(folder: Path, run_id: str | None, kind: str) -> list[object]:
    """The messages of a kind in the run's file."""
    (file,) = files_of(folder, str(run_id))
    return [getattr(record, kind) for *_, record in records(file) if record.WhichOneof("record_type") == kind]


def files(folder: Path) -> Path:
    """The folder with the files of the only run."""
    (found,) = folder.glob("wandb/offline-run-*/files")
    return found


def fail_after_a_number(backend: WandbBackend) -> None:
    log_to(backend, Value(1), "a", 1)
    raise ZeroDivisionError


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run to which one of each kind was logged."""
    quick = {"silent": True, "console": "off", "x_disable_stats": True, "x_disable_meta": True}
    folder = tmp_path_factory.mktemp("everything")
    with WandbBackend(folder, run_id="all", project="digits", settings=quick) as backend:
        for i, number in [(1, 0.1), (2, math.nan)]:
            log_to(backend, Value(number), "Loss", i, ("Step", "Metrics"))
            log_to(backend, Value(i), "Accuracy", i, ("Step", "Metrics"))
        log_to(backend, HyperParams({"lr": 0.1, "optimizer": "sgd", "amp": True}), "HParams", 0)
        log_to(backend, Image(torch.arange(18, dtype=torch.uint8).reshape(3, 2, 3)), "Visualization", 7, "Step")
        log_to(backend, Audio([[0.0, 1.0], [-1.0, 0.0]], 8000), "Beep", 2)
        log_to(backend, Text("# <Notes>\näöü"), "Notes", 3)
        log_to(backend, Histogram([0.0, 1.0, 1.0, math.inf]), "0.weight", 5, ("Step", "Histograms"))
        log_to(backend, File("some/weights.bin", b"\xff\x00"), "Weights", 4)
    return folder


def test_values_of_one_iteration_are_a_row_with_the_iteration(everything, history) -> None:
    first, second, *_ = history(everything)
    assert first == {"Step/Metrics/Loss": 0.1, "Step/Metrics/Accuracy": 1, "Step/Metrics/iteration": 1}
    assert math.isnan(second["Step/Metrics/Loss"])
    assert second["Step/Metrics/iteration"] == 2


def test_the_iteration_is_the_axis_of_the_charts(everything) -> None:
    (metric,) = (metric for metric in of_kind(everything, "all", "metric") if metric.glob_name == "Step/Metrics/*")
    assert metric.step_metric == "Step/Metrics/iteration"


def test_hyperparameters_are_the_configuration_and_the_project_is_that_of_the_run(everything) -> None:
    (run,) = of_kind(everything, "all", "run")
    assert (run.run_id, run.project) == ("all", "digits")
    found = {
        item.key: json.loads(item.value_json)
        for config in of_kind(everything, "all", "config")
        for item in config.update
    }
    assert {name: found[name] for name in ("lr", "optimizer", "amp")} == {"lr": 0.1, "optimizer": "sgd", "amp": True}


def test_an_image_keeps_its_pixels(everything) -> None:
    (path,) = files(everything).glob("media/images/Step/*.png")
    picture = PIL.Image.open(path)
    assert [picture.getpixel((x, 1)) for x in range(3)] == [(3, 9, 15), (4, 10, 16), (5, 11, 17)]


def test_sound_text_and_files_are_there_as_they_were(everything) -> None:
    (sound,) = files(everything).glob("media/audio/*.wav")
    with wave.open(io.BytesIO(sound.read_bytes())) as file:
        assert (file.getnchannels(), file.getnframes(), file.getframerate()) == (2, 2, 8000)
    (text,) = files(everything).glob("media/html/*.html")
    assert text.read_text(encoding="utf-8") == "<pre># &lt;Notes&gt;\näöü</pre>"
    assert (files(everything) / "Weights/00000004-weights.bin").read_bytes() == b"\xff\x00"


def test_a_histogram_counts_the_finite_numbers(everything, history) -> None:
    (row,) = (row for row in history(everything) if "Step/Histograms/iteration" in row)
    edges = row["Step/Histograms/0.weight/bins"]
    assert (sum(row["Step/Histograms/0.weight/values"]), edges[0], edges[-1]) == (3, 0.0, 1.0)


def test_a_graph_is_not_supported(make, tmp_path, warnings) -> None:
    with make(tmp_path) as backend:
        log_to(backend, Graph(torch.nn.Linear(1, 1), torch.ones(1, 1)), "Graph", 0)
    assert "WandbBackend does not support Graph" in warnings[0]
    assert list(tmp_path.iterdir()) == []


def test_a_run_says_how_it_ended(make, tmp_path) -> None:
    with make(tmp_path, run_id="good") as good:
        log_to(good, Value(1), "a", 1)
    with pytest.raises(ZeroDivisionError), make(tmp_path, run_id="bad") as bad:
        fail_after_a_number(bad)
    assert [end.exit_code for name in ("good", "bad") for end in of_kind(tmp_path, name, "exit")] == [0, 1]


def test_a_run_can_be_gone_on_with(make, read, tmp_path) -> None:
    with make(tmp_path) as first:
        log_to(first, Value(1), "a", 1, "Step")
    with make(tmp_path, run_id=first.run_id) as second:
        log_to(second, Value(2), "a", 2, "Step")
    assert read(tmp_path) == [("Step/a", 1, 1.0), ("Step/a", 2, 2.0)]
    assert len(files_of(tmp_path, str(first.run_id))) == 2


# Nothing is looked up and no connection opened but to W&B's own service in this machine.
ALONE = """
import os, sys
def refuse(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        print(event, arguments, flush=True)
    if event == "socket.connect" and not isinstance(arguments[1], str):
        print(event, arguments, flush=True)
sys.addaudithook(refuse)
from treadle_logging import Value, log_to
from treadle_wandb import WandbBackend
assert "wandb" not in sys.modules, "it is imported when a backend is made"
before = dict(os.environ)
with WandbBackend(sys.argv[1], run_id="alone", settings={"silent": True, "console": "off"}) as backend:
    log_to(backend, Value(1), "a", 1)
    assert {n: v for n, v in os.environ.items() if before.get(n) != v}.keys() <= {"WANDB_SERVICE"}
"""


def test_offline_needs_no_network_and_writes_into_the_folder_alone(tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    command = [sys.executable, "-c", ALONE, str(tmp_path / "runs")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / "elsewhere", env=environment)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["wandb"]
    assert of_kind(tmp_path / "runs", "alone", "exit")


@pytest.mark.parametrize("name", ["iteration", "_step"])
def test_a_name_of_w_and_b_itself_is_refused(make, tmp_path, name: str) -> None:
    with make(tmp_path) as backend, pytest.raises(ArgumentValueError, match=rf"W&B has a column '{name}' of its own"):
        log_to(backend, Value(1), name, 1, "Step")


def test_a_file_stays_inside_of_the_run(make, tmp_path) -> None:
    with make(tmp_path) as backend, pytest.raises(ArgumentValueError, match=r"which is outside of the run\.\nFix: ch"):
        log_to(backend, File("a.txt", "a"), "..", 1, ("..", ".."))


def test_nothing_is_logged_after_closing(make, tmp_path) -> None:
    backend = make(tmp_path, run_id="abc")
    backend.close()
    with pytest.raises(BackendClosedError, match=r"was closed\.\nFix: go on with its run:\n.*run_id='abc'"):
        log_to(backend, Value(1), "a", 2)


def test_what_it_is_made_with_is_checked(tmp_path) -> None:
    with pytest.raises(ArgumentTypeError, match=r"WandbBackend\(folder\) must be a path"):
        WandbBackend(3)
    with pytest.raises(ArgumentValueError, match=r"WandbBackend\(mode\)"):
        WandbBackend(tmp_path, mode="onlin")
    with pytest.raises(ArgumentTypeError, match=r"WandbBackend\(run_id\) must be an instance of str"):
        WandbBackend(tmp_path, run_id=3)
    with pytest.raises(ArgumentTypeError, match=r"has no option `projct`\. Did you mean `project`\?\nFix: correct"):
        WandbBackend(tmp_path, projct="digits")
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentValueError, match=r"WandbBackend cannot write to .*: File exists"):
        WandbBackend(tmp_path / "file")
