"""Stores that are ready, what is in them, and the warnings."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loguru import logger
from treadle_mlflow import MLflowBackend
from treadle_mlflow.store import client_and_experiment


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs: to make one takes MLflow a second."""
    folder = tmp_path_factory.mktemp("empty")
    client_and_experiment(str(folder), "treadle")
    return folder / "mlflow.db"


@pytest.fixture
def make(empty: Path) -> Callable[..., MLflowBackend]:
    """A function that makes a backend that writes into a folder."""

    def make(folder: Path, **options: str) -> MLflowBackend:
        if not (folder / "mlflow.db").exists():
            folder.mkdir(exist_ok=True)
            shutil.copy(empty, folder)
        return MLflowBackend(folder, **{"experiment": "test", **options})

    return make


@pytest.fixture
def read() -> Callable[[Path], list[tuple[str, int, float]]]:
    """A function that reads the metrics of a folder's runs: (tag, iteration, number)."""

    def read(folder: Path) -> list[tuple[str, int, float]]:
        client, experiment = client_and_experiment(str(folder), "test")
        return [
            (metric.key, metric.step, metric.value)
            for run in client.search_runs([experiment])
            for key in run.data.metrics
            for metric in client.get_metric_history(run.info.run_id, key)
        ]

    return read


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    messages: list[str] = []
    sink = logger.add(lambda text: messages.append(text.rstrip("\n")), format="{message}", level="WARNING")
    yield messages
    logger.remove(sink)
