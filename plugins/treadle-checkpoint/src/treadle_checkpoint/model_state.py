"""The state of one or several models as named tensors, and these put back in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from treadle.errors import ArgumentTypeError

from treadle_checkpoint.errors import MismatchError, NotSaveableError
from treadle_checkpoint.plain import put_together, take_apart

Tensors = dict[str, torch.Tensor]


def models_by_name(model: Any) -> dict[str, nn.Module]:
    """One or several models, by name; a single one has the empty name.

    Raises:
        ArgumentTypeError: if it is neither a module nor a mapping of modules.
    """
    models = {"": model} if isinstance(model, nn.Module) else model
    if not isinstance(models, Mapping) or not all(isinstance(each, nn.Module) for each in models.values()):
        kind = model.__name__ if isinstance(model, type) else type(model).__name__
        raise ArgumentTypeError(
            f"A model is a module or a mapping of modules, got {kind}: save_model(learner.model, path)"
        )
    return dict(models)


def gather(model: Any) -> tuple[Tensors, dict[str, Any]]:
    """The state of a model: its tensors by name, and notes on what no tensor says.

    Of names that share one tensor only the first is there; the notes say what stands for the others. With several
    models each name starts with its model's.

    Args:
        model: A module, or a mapping of modules.

    Raises:
        NotSaveableError: for a lazy parameter, and for extra state that is not plain.
    """
    tensors: Tensors = {}
    plain: dict[str, Any] = {}
    shared: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for prefix, module in models_by_name(model).items():
        for key, value in module.state_dict().items():
            name = f"{prefix}.{key}" if prefix else key
            if not isinstance(value, torch.Tensor):
                plain[name] = take_apart(value, name, tensors)
                continue
            if is_lazy(value):
                raise NotSaveableError(f"{name} has no shape yet. Show the model a batch before it is saved: model(xs)")
            same = first.setdefault(identity(value), name) if value.numel() else name
            if same == name:
                tensors[name] = value.detach()
            else:
                shared[name] = same
    return tensors, {"shared": shared, "plain": plain}


def put(model: Any, tensors: Mapping[str, torch.Tensor], notes: Any, where: str) -> None:
    """Load into a model, in place, what `gather` gave.

    Args:
        model: A module, or a mapping of modules; on any device.
        tensors: The tensors by name.
        notes: What `gather` noted; None for a file of another program.
        where: What the tensors come from, for messages.

    Raises:
        MismatchError: if names or shapes differ; then nothing is loaded.
    """
    for module, state in fitting(model, tensors, notes, where):
        module.load_state_dict(state)


def fitting(
    model: Any, tensors: Mapping[str, torch.Tensor], notes: Any, where: str, *, exact: bool = False
) -> list[tuple[nn.Module, dict[str, Any]]]:
    """What each module is to load; see `put`.

    Args:
        exact: Whether the types of the numbers have to agree as well. Default: no, they are converted.
    """
    there = in_file(tensors, notes or {"shared": {}, "plain": {}})
    result, problems, taken = [], [], set()
    for prefix, module in models_by_name(model).items():
        own = {f"{prefix}.{key}" if prefix else key: (key, value) for key, value in module.state_dict().items()}
        source, differing = sources(own, there)
        problems += differing
        state = {}
        for name, (key, value) in own.items():
            if source[name] not in there:
                problems.append(f"it lacks {name}")
            elif problem := difference(name, value, there[source[name]], exact=exact):
                problems.append(problem)
            else:
                state[key] = there[source[name]]
        taken |= set(own)
        result.append((module, state))
    problems += [f"it has {name}, which the model has not" for name in there if name not in taken]
    if problems:
        more = f", and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise MismatchError(
            f"{where} does not fit the model: {'; '.join(problems[:6])}{more}. "
            f"Build the model as it was when it was saved.{guess(there, taken)}"
        )
    return result


def in_file(tensors: Mapping[str, torch.Tensor], notes: Any) -> dict[str, Any]:
    """Everything that a file says of a model, by name; also what is no tensor, and names that share one."""
    plain = notes["plain"]
    there: dict[str, Any] = {name: put_together(value, tensors) for name, value in plain.items()}
    there |= {name: tensor for name, tensor in tensors.items() if not inside(name, plain)}
    return there | {name: there[kept] for name, kept in notes["shared"].items()}


def sources(own: Mapping[str, tuple[str, Any]], there: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """For each name of the model the name in the file to load; and what of that is contradictory.

    A tensor that has several names in the model may be in the file under any of them, as other programs write it.
    """
    source, problems = {}, []
    known: dict[tuple[Any, ...], str] = {}
    tensors = {name: value for name, (_, value) in own.items() if is_memory(value)}
    for name in (name for name in tensors if name in there):
        same = known.setdefault(identity(tensors[name]), name)
        if same != name and not torch.equal(there[same], there[name]):
            problems.append(f"{same} and {name} differ, and are one tensor in the model")
    for name in own:
        shared = known.get(identity(tensors[name])) if name in tensors else None
        source[name] = shared if shared is not None and name not in there else name
    return source, problems


def is_memory(value: Any) -> bool:
    """Whether it is a tensor with something in it."""
    return isinstance(value, torch.Tensor) and not is_lazy(value) and value.numel() > 0


def difference(name: str, own: Any, saved: Any, *, exact: bool) -> str | None:
    """What is different between a tensor of the model and the one that was saved, or None."""
    if not isinstance(own, torch.Tensor) or not isinstance(saved, torch.Tensor) or is_lazy(own):
        return None
    if own.shape != saved.shape:
        return f"{name} has the shape {tuple(saved.shape)}, in the model {tuple(own.shape)}"
    if exact and own.dtype != saved.dtype:
        return f"{name} is {saved.dtype}, in the model {own.dtype}"
    return None


def guess(there: Iterable[str], wanted: Iterable[str]) -> str:
    """A word on the prefix that a wrapper such as DataParallel or torch.compile puts before every name."""
    there, wanted = set(there), set(wanted)
    for prefix in ("module.", "_orig_mod."):
        if there and all(name.startswith(prefix) for name in there - wanted) and there - wanted:
            return (
                f" The names were saved from inside of a wrapper: load into model, wrapped so that it has `{prefix}`."
            )
        if wanted - there and all(name.startswith(prefix) for name in wanted - there):
            attribute = prefix.rstrip(".")
            return f" The model is inside of a wrapper: load into model.{attribute}."
    return ""


def inside(name: str, plain: Mapping[str, Any]) -> bool:
    """Whether a tensor belongs to extra state that is no tensor itself."""
    return any(name == each or name.startswith(f"{each}/") for each in plain)


def identity(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What two names of one tensor have in common."""
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device
