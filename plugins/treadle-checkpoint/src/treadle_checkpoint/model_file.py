"""`save_model` and `load_model`: the weights of a model in one file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.nn.parameter import is_lazy
from treadle.authoring import (
    file_path,
    flatten,
    load_model_state,
    model_state,
    models_by_name,
    unflatten,
)
from treadle.errors import ArgumentValueError, DamagedCheckpointError, NotSaveableError

from treadle_checkpoint.durable import whole_file
from treadle_checkpoint.errors import NoCheckpointError, NonFiniteWeightsError
from treadle_checkpoint.folder import numbered
from treadle_checkpoint.manifest import content_digest, read_manifest, verify
from treadle_checkpoint.tensor_file import digest_of, read_tensors, write_tensors

M = TypeVar("M")

#: The file of the model in the folder of a checkpoint: the weights with which validation runs.
MODEL = "model.safetensors"

#: The file of those that were trained, where validation runs with others.
TRAINED = "trained.safetensors"


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Save the weights and buffers of a model, in the safetensors format.

    The file is whole or not there: it is written beside `path`, flushed to the disk and then renamed, and takes
    the place of one that is there. A tensor that has several names is stored once.

    Args:
        model: A module, or a mapping of modules by name.
        path: The file; its folder is made if need be.

    Raises:
        NonFiniteWeightsError: if a weight is NaN or infinite.
        NotSaveableError: if the model holds what no file can, such as a lazy parameter.
        ArgumentTypeError: if `model` is neither a module nor a mapping of modules.
        ArgumentValueError: if `path` is a folder.

    Example:
        >>> import tempfile, torch
        >>> path = tempfile.mkdtemp() + "/linear.safetensors"
        >>> save_model(torch.nn.Linear(2, 1), path)
        >>> load_model(torch.nn.Linear(2, 1), path)
        Linear(in_features=2, out_features=1, bias=True)
    """
    path = file_path(path, "path", "save_model(model, 'weights.safetensors')")
    if not path.name or path.is_dir():
        raise ArgumentValueError(
            f"save_model writes one file, and {os.fspath(path)!r} is a folder.\n"
            f"Fix: name a file in it:\n    save_model(model, {os.fspath(path / 'weights.safetensors')!r})"
        )
    refuse_non_finite(model)
    with torch.no_grad(), whole_file(path) as unfinished:
        write_model_state(unfinished, model_state(model, copy=False))


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
        ArgumentTypeError: if `model` is neither a module nor a mapping of modules.

    Example:
        >>> import tempfile, torch
        >>> path = tempfile.mkdtemp() + "/pair.safetensors"
        >>> pair = {"encoder": torch.nn.Linear(2, 1), "decoder": torch.nn.Linear(1, 2)}
        >>> save_model(pair, path)
        >>> load_model(pair, path) is pair
        True
    """
    path, expected = file_path(path, "path", "load_model(model, 'weights.safetensors')"), None
    models_by_name(model)
    if path.is_dir():
        if numbered(path):
            raise NoCheckpointError(
                f"{path} holds several checkpoints.\nFix: choose one, the best or the latest:\n"
                f"    load_model(model, best({str(path)!r}))"
            )
        manifest = read_manifest(path)
        verify(path, manifest, (MODEL,))
        path, expected = path / MODEL, content_digest(path, manifest, MODEL)
    if not path.is_file():
        raise NoCheckpointError(
            f"There is no file {path}.\nFix: pass a file of save_model, or the folder of a checkpoint."
        )
    state = read_model_state(path, expected)
    with torch.no_grad():
        load_model_state(model, state, str(path))
    return model


def write_model_state(path: Path, state: Mapping[str, Any]) -> str:
    """Write what `model_state` returned, each tensor once; returns the digest of the content."""
    return write_tensors(path, *once(state))


def replaced_in_validation(learner: Any) -> dict[str, torch.Tensor]:
    """The tensors, by name, with which validation runs in place of those in the model; see `weights_in_validation`."""
    replaced: dict[str, torch.Tensor] = {}
    for callback in learner.callbacks:
        replaced |= callback.weights_in_validation or {}
    return replaced


def model_digests(learner: Any) -> tuple[str, str | None]:
    """The digests that the contents of the files `MODEL` and `TRAINED` have; None if there is no such file."""
    state, replaced = model_state(learner.model, copy=False), replaced_in_validation(learner)
    trained = digest_of(*once(trained_state(state, replaced))) if replaced else None
    return digest_of(*once({**state, **replaced})), trained


def trained_state(state: Mapping[str, Any], replaced: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Of what `model_state` returned, what was trained and is replaced in validation."""
    return {name: value for name, value in state.items() if name in replaced}


def once(state: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of what `model_state` returned, each once, and what is to be known to make it of them again."""
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, Any] = {}
    shared: dict[str, str] = {}
    names: dict[Any, str] = {}
    for name, value in state.items():
        if not isinstance(value, torch.Tensor):
            plain[name] = flatten(value, name, tensors)
            continue
        memory = (value.data_ptr(), value.shape, value.stride(), value.dtype, value.device)
        first = names.setdefault(memory, name) if value.numel() else name
        if first == name:
            tensors[name] = value
        else:
            shared[name] = first
    return tensors, {"shared": shared, "plain": plain}


def read_model_state(path: Path, expected: str | None = None) -> dict[str, Any]:
    """Read what `write_model_state` wrote, or a file of another program; see `read_tensors`."""
    tensors, notes = read_tensors(path, expected)
    if notes is None:
        return dict(tensors)
    try:
        state = {name: unflatten(value, tensors) for name, value in notes["plain"].items()}
        inside = tuple(f"{name}/" for name in state)  # the tensors of extra state
        state |= {name: tensor for name, tensor in tensors.items() if name not in state and not name.startswith(inside)}
        return state | {name: state[first] for name, first in notes["shared"].items()}
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise DamagedCheckpointError(
            f"{path} is damaged: its notes are not those of a model ({error!r}).\nFix: load another one."
        ) from error


def refuse_sharded(model: Any) -> None:
    """Refuse models of which each process has only a part.

    Raises:
        NotSaveableError: naming the first such parameter.
    """
    for prefix, module in models_by_name(model).items():
        for name, parameter in module.named_parameters():
            if hasattr(parameter, "full_tensor"):
                raise NotSaveableError(
                    f"A checkpoint cannot hold {f'{prefix}.{name}' if prefix else name} yet: it is sharded over "
                    f"processes.\nFix: train with DDP(), which keeps it whole on each; or save it by "
                    f"torch.distributed.checkpoint"
                )


def refuse_non_finite(model: Any) -> None:
    """Refuse to save models whose weights are not finite, or not whole.

    Raises:
        NonFiniteWeightsError: if they are not finite.
        NotSaveableError: if they are sharded over processes.
    """
    refuse_sharded(model)
    if (name := non_finite(model)) is not None:
        raise NonFiniteWeightsError(
            f"{name} is NaN or infinite, so the model is not saved.\nFix: go back to an earlier checkpoint; "
            f"StopOnNaNLoss ends a training before such a loss reaches the weights."
        )


def non_finite(model: Any, replaced: Mapping[str, torch.Tensor] | None = None) -> str | None:
    """The name of a parameter that is not finite, or of a buffer with a NaN in it; None if there is none.

    Buffers may be infinite, as the masks of attention are.

    Args:
        replaced: What validation runs with in place of what is in the model, which must be finite as well.
    """
    for name, tensor in (replaced or {}).items():
        if not all_finite(tensor):
            return name
    for prefix, module in models_by_name(model).items():
        start = f"{prefix}." if prefix else ""
        for name, parameter in module.named_parameters():
            if not is_lazy(parameter) and not all_finite(parameter.detach()):
                return start + name
        for name, buffer in module.named_buffers():
            if not is_lazy(buffer) and not all_finite(buffer) and torch.isnan(buffer).any():
                return start + name
    return None


def all_finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers in a tensor are finite: they are if their sum is, which takes one look at each."""
    summed = tensor.dtype.itemsize > 1  # torch sums no numbers of eight bits
    return bool((summed and torch.isfinite(tensor.sum())) or torch.isfinite(tensor).all())
