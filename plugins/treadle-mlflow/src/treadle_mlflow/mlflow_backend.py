"""`MLflowBackend`: runs that MLflow compares."""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
import time
from os import PathLike
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from loguru import logger
from treadle.authoring import file_path, instance_of, preserved_random_state
from treadle.errors import ArgumentValueError
from treadle_logging import (
    Audio,
    BackendClosedError,
    File,
    Histogram,
    HyperParams,
    Image,
    LogChangedError,
    Loggable,
    LoggerBackend,
    Text,
    Value,
)

from treadle_mlflow.store import client_and_experiment

#: How many metrics MLflow takes at once. A write of one costs about as much as one of fifty.
BLOCK = 1000

#: What MLflow takes as the name of a metric, a parameter or an artifact.
NAME = re.compile(r"[\w.\- /]+" if sys.platform == "win32" else r"[\w.\- :/]+")
LONGEST = 250

EXAMPLE = 'MLflowBackend("runs", experiment="digits")'


class MLflowBackend(LoggerBackend):
    """Log to a run of MLflow: `Value` as metrics, `HyperParams` as parameters, all else as artifacts.

    Metrics are written together, 1,000 at a time and at every `flush`, which the logging callbacks call at the end of
    an epoch; so no step waits for the store. The run is made when something is first written, and a resumed run goes
    on with that of its checkpoint.

    Args:
        store: A folder, which gets a database and the files of its runs; or the URI of a store or a server, as
            `mlflow.set_tracking_uri` takes it. Default: MLflow's own (`MLFLOW_TRACKING_URI`, else `mlflow.db` and
            `mlruns` in the working directory).
        experiment: The experiment that the run belongs to; made if it does not exist. Default: `"treadle"`.
        run_name: What the run is called. Default: MLflow makes a name.
        run_id: A run to go on with. Default: the one of the checkpoint where a run is resumed, and else a new one.

    Raises:
        ArgumentTypeError: for an argument of the wrong type.
        ArgumentValueError: if the store cannot be used, or has no such run.

    Example:
        >>> from treadle import toy_learner
        >>> from treadle_logging import LogMetrics
        >>> from treadle_metrics import Metrics, Recorder
        >>> with MLflowBackend("runs", experiment="toy") as backend:
        ...     _ = toy_learner(Recorder(), Metrics(), LogMetrics(backend)).fit(1)
    """

    supported = (Value, Text, Image, Audio, Histogram, File, HyperParams)

    def __init__(
        self,
        store: str | PathLike[str] | None = None,
        *,
        experiment: str = "treadle",
        run_name: str | None = None,
        run_id: str | None = None,
    ) -> None:
        if store is not None and not isinstance(store, str):
            store = str(file_path(store, "MLflowBackend(store)", EXAMPLE))
        self.store = store
        self.experiment = instance_of(experiment, "MLflowBackend(experiment)", str, EXAMPLE)
        for name, value in (("run_name", run_name), ("run_id", run_id)):
            if value is not None:
                instance_of(value, f"MLflowBackend({name})", str, f'MLflowBackend("runs", {name}="first")')
        self.run_name = run_name
        self._client, self._experiment = client_and_experiment(store, experiment)
        self._waiting: list[Any] = []
        self._time = 0  # of the last metric, in milliseconds
        self._there: dict[tuple[str, int], float] = {}  # what a resumed run finds of what it will log
        self._warned = self._closed = False
        self.run_id: str | None = None
        if run_id is not None:
            self._go_on_with(run_id, ArgumentValueError)

    def __repr__(self) -> str:
        return f"MLflowBackend({self.store!r}, experiment={self.experiment!r})"

    def log(self, loggable: Loggable, name: str, i: int, group: tuple[str, ...]) -> None:
        self._check_open()
        tag = checked_name(self.tag(name, group))
        match loggable:
            case Value():
                self._metric(tag, loggable.number, i)
            case HyperParams():
                self._parameters(loggable)
            case Text():
                self._artifact(f"{tag}/{i:08}.txt", loggable.data)
            case Image():
                self._artifact(f"{tag}/{i:08}.png", loggable.png)
            case Audio():
                self._artifact(f"{tag}/{i:08}.wav", loggable.wav)
            case Histogram():
                counts, edges = loggable.bins()
                self._artifact(f"{tag}/{i:08}.json", json.dumps({"counts": counts, "edges": edges}))
            case File():
                self._artifact(f"{tag}/{i:08}-{checked_name(Path(loggable.file).name)}", loggable.data or b"")

    def flush(self) -> None:
        self._check_open()
        while self._waiting:
            self._client.log_batch(self._run(), metrics=self._waiting[:BLOCK])
            del self._waiting[:BLOCK]

    def position(self) -> dict[str, Any]:
        """The run, and the time up to which it is in the checkpoint, in milliseconds."""
        self.flush()
        return {"run": self._run(), "time": self._now()}

    def rewind(self, position: dict[str, Any]) -> None:
        """Go on with the run of the position. MLflow cannot delete points: those that come again are not repeated."""
        self._check_open()
        run_id = position["run"]
        if self.run_id not in (None, run_id):
            raise LogChangedError(
                f"{self!r} logs to the run {self.run_id}, and the run that is resumed logged to {run_id}.\n"
                f"Fix: leave the run out, and it is that of the checkpoint:\n    MLflowBackend({self.store!r})"
            )
        self._go_on_with(run_id, LogChangedError)
        self._waiting.clear()
        self._there.clear()
        for key in self._client.get_run(run_id).data.metrics:
            for metric in self._client.get_metric_history(run_id, key):
                if metric.timestamp >= position["time"]:
                    self._there[key, metric.step] = metric.value

    def close(self) -> None:
        self._end("FINISHED")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end("FAILED" if kind else "FINISHED")

    def _end(self, status: str) -> None:
        if not self._closed:
            self.flush()
            self._closed = True
            if self.run_id is not None:
                self._client.set_terminated(self.run_id, status)

    def _metric(self, tag: str, number: float, i: int) -> None:
        from mlflow.entities import Metric

        there = self._there.pop((tag, i), None)
        if there is not None and stored(there) == stored(number):
            return
        if there is not None and not self._warned:
            self._warned = True
            logger.warning(
                f"The resumed run has {number!r} for {tag!r} at {i}, and before it was interrupted it logged "
                f"{there!r}. MLflow cannot delete points, so the run {self.run_id} has both there."
            )
        self._waiting.append(Metric(tag, number, self._now(), i))
        if len(self._waiting) % BLOCK == 0:
            self.flush()

    def _parameters(self, hyperparams: HyperParams) -> None:
        from mlflow.entities import Param

        params = [Param(checked_name(name), str(value)) for name, value in hyperparams.data.items()]
        for start in range(0, len(params), 100):  # MLflow takes no more at once
            self._client.log_batch(self._run(), params=params[start : start + 100])

    def _artifact(self, path: str, content: str | bytes) -> None:
        """Write a file of the run; one that has the path already is replaced."""
        place = PurePosixPath(path)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, place.name)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
            self._client.log_artifact(self._run(), str(file), str(place.parent))

    def _run(self) -> str:
        if self.run_id is None:
            with preserved_random_state():  # of which MLflow makes a name
                run = self._client.create_run(self._experiment, run_name=self.run_name)
            self.run_id = str(run.info.run_id)
        return self.run_id

    def _go_on_with(self, run_id: str, refused: type[Exception]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            stage = self._client.get_run(run_id).info.lifecycle_stage
        except MlflowException:
            stage = "missing"
        if stage != "active":
            raise refused(
                f"{self!r} cannot go on with the run {run_id}, which is {stage} there.\n"
                f"Fix: use the store that the run is in, or begin a new run in another folder:\n"
                f"    MLflowBackend(folder)"
            )
        self._client.update_run(run_id, status="RUNNING")
        self.run_id = run_id

    def _now(self) -> int:
        self._time = max(self._time, time.time_ns() // 10**6)
        return self._time

    def _check_open(self) -> None:
        if self._closed:
            raise BackendClosedError(
                f"{self!r} was closed.\n"
                f"Fix: go on with its run:\n    MLflowBackend({self.store!r}, run_id={self.run_id!r})"
            )


def checked_name(name: str) -> str:
    """The name, if MLflow takes it.

    Raises:
        ArgumentValueError: if it does not.
    """
    parts = name.split("/")
    if NAME.fullmatch(name) and len(name) <= LONGEST and not {"", ".", ".."} & {*parts}:
        return name
    valid = "/".join(re.sub(r"[^\w-]+", "_", part) for part in parts if part)[:LONGEST]
    raise ArgumentValueError(
        f"MLflow takes no name such as {name!r:.300}: at most {LONGEST} letters, digits, spaces and _ - . : in parts "
        f"that are joined by /.\nFix: name it without other characters:\n    {valid or 'Loss'!r}"
    )


def stored(number: float) -> float | None:
    """A number as databases of MLflow hold it, which have no infinities; None for NaN."""
    return None if math.isnan(number) else max(-sys.float_info.max, min(sys.float_info.max, number))
