"""Where MLflow keeps its runs: a folder, or what a URI names."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

from treadle.errors import ArgumentValueError
from treadle_logging.backend import path_errors

#: What begins as a URI does; the letter of a drive is not enough.
URI = re.compile(r"[a-z][a-z0-9+-]+:|databricks")

#: The setting of MLflow's usage statistics.
TELEMETRY = "MLFLOW_DISABLE_TELEMETRY"


def client_and_experiment(store: str | None, experiment: str) -> tuple[Any, str]:
    """A client of a store, and the identifier of an experiment there, which is made where it does not exist.

    Args:
        store: A folder, a URI, or None for MLflow's own default.
    """
    import_without_telemetry()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri, artifacts = store, None
    if store is not None and not URI.match(store):
        folder = Path(store).resolve()
        with path_errors("MLflowBackend", Path(store), "runs"):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise OSError("you may not write there")
        uri, artifacts = f"sqlite:///{(folder / 'mlflow.db').as_posix()}", (folder / "artifacts").as_uri()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of SQLAlchemy, whose parts MLflow sets up here
            client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        if found is not None and found.lifecycle_stage != "active":
            raise ArgumentValueError(
                f"The experiment {experiment!r} of {store or 'MLflow'} was deleted.\n"
                f"Fix: restore it, or choose another name:\n"
                f"    MLflowBackend({store!r}, experiment={experiment + '-2'!r})"
            )
        return client, found.experiment_id if found else client.create_experiment(experiment, artifacts)
    except MlflowException as error:
        raise ArgumentValueError(
            f"MLflow cannot use {store or 'its store'!r} with the experiment {experiment!r}: {error}.\n"
            f"Fix: pass a folder, or the URI of a store or a server:\n"
            f'    MLflowBackend("runs")\n    MLflowBackend("http://localhost:5000")'
        ) from error


def import_without_telemetry() -> None:
    """Import MLflow in such a way that it tells nobody of its use, unless the environment says what it is to do."""
    decided = TELEMETRY in os.environ
    os.environ.setdefault(TELEMETRY, "true")
    try:
        import mlflow.telemetry

        if not decided:
            mlflow.telemetry.set_telemetry_client()  # looks at the environment anew
    finally:
        if not decided:
            del os.environ[TELEMETRY]
