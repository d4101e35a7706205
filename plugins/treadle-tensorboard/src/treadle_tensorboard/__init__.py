"""A TensorBoard backend for Treadle's logging callbacks."""

from treadle_tensorboard.tensorboard_backend import TensorBoardBackend

__all__ = ["TensorBoardBackend"]
