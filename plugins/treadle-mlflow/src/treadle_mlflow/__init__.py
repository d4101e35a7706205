"""An MLflow backend for Treadle's logging callbacks."""

from treadle_mlflow.mlflow_backend import MLflowBackend

__all__ = ["MLflowBackend"]
