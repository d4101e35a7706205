"""`save_model` and `load_model`: the weights of a model in one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

import torch

from treadle_checkpoint import model_state
from treadle_checkpoint.durable import whole_file
from treadle_checkpoint.errors import NoCheckpointError
from treadle_checkpoint.finite import refuse_non_finite
from treadle_checkpoint.folder import numbered
from treadle_checkpoint.manifest import read_manifest, verify
from treadle_checkpoint.tensor_file import read_tensors, write_tensors

M = TypeVar("M")

#: The file of the model in the folder of a checkpoint.
MODEL = "model.safetensors"


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Save the weights and buffers of a model, in the safetensors format.

    The file is whole or not there: it is written beside `path`, flushed to the disk and then renamed, and takes
    the place of one that is there. A tensor that has several names is stored once.

    Args:
        model: A module, or a mapping of modules by name, such as `learner.model`.
        path: The file; its folder is made if it is not there.

    Raises:
        NonFiniteWeightsError: if a weight is NaN or infinite.
        NotSaveableError: if the model holds what no file can, such as a lazy parameter.
        ArgumentTypeError: if `model` is no module and no mapping of modules.

    Example:
        >>> import tempfile, torch
        >>> path = tempfile.mkdtemp() + "/linear.safetensors"
        >>> save_model(torch.nn.Linear(2, 1), path)
        >>> load_model(torch.nn.Linear(2, 1), path)
        Linear(in_features=2, out_features=1, bias=True)
    """
    refuse_non_finite(model_state.models_by_name(model))
    with torch.no_grad(), whole_file(Path(path)) as unfinished:
        write_tensors(unfinished, *model_state.gather(model))


def load_model(model: M, path: str | os.PathLike[str]) -> M:
    """Load weights and buffers into a model, in place.

    No code in the file is executed, whoever made it. What `save_model` or a `Checkpointer` wrote is verified.

    Args:
        model: A module, or a mapping of modules by name, built as the one that was saved; on any device, and of
            any type of numbers.
        path: A file in the safetensors format, or the folder of a checkpoint.

    Returns:
        The same model.

    Raises:
        NoCheckpointError: if there is no such file.
        DamagedCheckpointError: if its content is not what was written.
        MismatchError: if names or shapes differ; then the model is as it was.
        ArgumentTypeError: if `model` is no module and no mapping of modules.

    Example:
        >>> import tempfile, torch
        >>> path = tempfile.mkdtemp() + "/pair.safetensors"
        >>> pair = {"encoder": torch.nn.Linear(2, 1), "decoder": torch.nn.Linear(1, 2)}
        >>> save_model(pair, path)
        >>> load_model(pair, path) is pair
        True
    """
    path = Path(path)
    models = model_state.models_by_name(model)
    if path.is_dir():
        if numbered(path):
            raise NoCheckpointError(
                f"{path} holds several checkpoints. Say which: load_model(model, best({str(path)!r})), or latest"
            )
        verify(path, read_manifest(path), (MODEL,))
        path = path / MODEL
    if not path.is_file():
        raise NoCheckpointError(f"There is no file {path}. Pass a file of save_model, or the folder of a checkpoint.")
    tensors, notes = read_tensors(path)
    with torch.no_grad():
        model_state.put(models[""] if set(models) == {""} else models, tensors, notes, str(path))
    return model
