"""The state of one or several models, by name, and how it is put back in place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from treadle.errors import ArgumentTypeError, MismatchError, NotSaveableError
from treadle.state.propdict import by_name


def models_by_name(model: Any) -> dict[str, nn.Module]:
    """One or several models, by name; a single one has the empty name.

    Raises:
        ArgumentTypeError: if it is neither a module nor a mapping of modules.

    Example:
        >>> models_by_name(nn.Flatten()), models_by_name({"critic": nn.Flatten()})
        ({'': Flatten(start_dim=1, end_dim=-1)}, {'critic': Flatten(start_dim=1, end_dim=-1)})
    """
    models = by_name(model)
    if not all(isinstance(module, nn.Module) for module in models.values()):
        kind = model.__name__ if isinstance(model, type) else type(model).__name__
        raise ArgumentTypeError(
            f"A model is a module or a mapping of modules, got {kind}.\nFix: pass, for example, learner.model."
        )
    return models


def model_state(model: Any, *, copy: bool = True, persistent: bool = False) -> dict[str, Any]:
    """Parameters and buffers of a model by name; with several models each name starts with its model's.

    It is what the `state_dict` of the model holds, and the buffers that this leaves out.

    To restore the best weights, keep this and put it back with `load_model_state`; a `state_dict` may hold it.

    Args:
        model: A module, or a mapping of modules.
        copy: Whether to copy the tensors; one that has several names is copied once. Default: yes.
        persistent: Whether to leave out buffers that are in no `state_dict`, as a file for other programs does.
            Default: no.

    Raises:
        NotSaveableError: for a lazy parameter.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> best = model_state(model)
        >>> _ = nn.init.constant_(model.weight, 100.0)
        >>> load_model_state(model, best)
        >>> model.weight.item() < 100
        True
    """
    state: dict[str, Any] = {}
    copies: dict[Any, torch.Tensor] = {}
    for prefix, module in models_by_name(model).items():
        values = dict(module.state_dict())
        if not persistent:
            values |= all_hidden_buffers(module)
        for key, value in values.items():
            name = f"{prefix}.{key}" if prefix else key
            if not isinstance(value, torch.Tensor):
                state[name] = deepcopy(value) if copy else value
            elif is_lazy(value):
                raise NotSaveableError(
                    f"{name} has no shape yet.\nFix: show the model a batch before it is saved:\n    model(xs)"
                )
            elif not copy:
                state[name] = value.detach()
            else:
                memory = identity(value) or name
                if memory not in copies:
                    copies[memory] = value.detach().clone()
                state[name] = copies[memory]
    return state


def hidden_buffers(module: nn.Module) -> dict[str, torch.Tensor | None]:
    """The buffers of a module, without those of its children, that no `state_dict` names."""
    return {
        name: buffer
        for name, buffer in module._buffers.items()
        if name in module._non_persistent_buffers_set and (buffer is None or not is_lazy(buffer))
    }


def unset_buffers(model: Any) -> dict[str, nn.Module]:
    """The buffers of one or several models that a `state_dict` would name and that are None, with their modules.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False))
        >>> sorted(unset_buffers(model))
        ['0.num_batches_tracked', '0.running_mean', '0.running_var']
    """
    return {
        f"{path}.{name}" if path else name: module
        for path, module in named_modules(model, None).items()
        for name, buffer in module._buffers.items()
        if buffer is None and name not in module._non_persistent_buffers_set
    }


def all_hidden_buffers(module: nn.Module) -> dict[str, torch.Tensor | None]:
    """The buffers of a module and all of its children that no `state_dict` names, by their names."""
    return {
        f"{path}.{name}" if path else name: buffer
        for path, owner in module.named_modules()
        for name, buffer in hidden_buffers(owner).items()
    }


def named_modules(model: Any, lossfn: Any) -> dict[str, nn.Module]:
    """All modules that a run has, by name: those of the models and of the loss function."""
    modules: dict[str, nn.Module] = {}
    for prefix, one in by_name(model).items():
        modules |= {".".join(filter(None, (prefix, name))): module for name, module in one.named_modules()}
    if isinstance(lossfn, nn.Module):
        modules |= {f"lossfn:{name}": module for name, module in lossfn.named_modules()}
    return modules


def modes_by_name(
    modules: Mapping[str, nn.Module], modes: Iterable[tuple[nn.Module, bool]] | None = ()
) -> dict[str, bool]:
    """The training modes of modules by name.

    Args:
        modes: Modules with modes that count instead of those that they have; None for no modes at all.
    """
    if modes is None:
        return {}
    instead = {id(module): mode for module, mode in modes}
    return {name: instead.get(id(module), module.training) for name, module in modules.items()}


def load_hidden_buffers(modules: Mapping[str, nn.Module], state: Mapping[str, Any]) -> None:
    """Load buffers that no `state_dict` names, in place where the tensor that is there has the same form."""
    for name, value in state.items():
        path, _, leaf = name.rpartition(".")
        owner = modules[path]
        current = owner._buffers.get(leaf)
        if isinstance(current, torch.Tensor) and isinstance(value, torch.Tensor) and not is_lazy(current):
            if current.shape == value.shape and current.dtype == value.dtype:
                current.copy_(value)
                continue
            value = value.to(current.device)
        owner.register_buffer(leaf, value.clone() if isinstance(value, torch.Tensor) else value, persistent=False)


def load_model_state(model: Any, state: Mapping[str, Any], where: str = "The state") -> None:
    """Load what `model_state` returned into a model, in place.

    Args:
        model: A module, or a mapping of modules; on any device, and of any type of numbers.
        state: The values by name. Of names that share one tensor in the model, one is enough.
        where: Where the state comes from, for messages.

    Raises:
        MismatchError: if names or shapes differ; then nothing is loaded.

    Example:
        >>> small, large = nn.Linear(1, 1), nn.Linear(2, 1)
        >>> load_model_state(large, model_state(small), "It")
        Traceback (most recent call last):
        ...
        treadle.errors.MismatchError: It does not fit the model: weight has the shape (1, 1), in the model (1, 2).
        Fix: build the model as it was when it was saved
    """
    for module, values, hidden in match_model_state(model, state, where):
        module.load_state_dict(values)
        load_hidden_buffers(dict(module.named_modules()), hidden)


def match_model_state(
    model: Any, saved: Mapping[str, Any], where: str, *, what: str = "the model", exact: bool = False
) -> list[tuple[nn.Module, dict[str, Any], dict[str, Any]]]:
    """What each module is to load, and into which of its buffers that no `state_dict` names; see `load_model_state`.

    Args:
        what: What the model is called in a message. Default: "the model".
        exact: Whether the types of the numbers have to agree as well. Default: no, they are converted.
    """
    result, problems, known = [], [], set()
    for prefix, module in models_by_name(model).items():
        current = {f"{prefix}.{key}" if prefix else key: (key, value) for key, value in module.state_dict().items()}
        names, contradictions = saved_names({name: value for name, (_, value) in current.items()}, saved)
        problems += contradictions
        state = {}
        for name, (key, value) in current.items():
            if names[name] not in saved:
                problems.append(f"it lacks {name}")
            elif problem := difference(name, value, saved[names[name]], exact=exact):
                problems.append(problem)
            else:
                state[key] = saved[names[name]]
        hidden = {f"{prefix}.{key}" if prefix else key: key for key in all_hidden_buffers(module)}
        known |= set(current) | set(hidden)
        result.append((module, state, {key: saved[name] for name, key in hidden.items() if name in saved}))
    problems += [f"it has {name}, which {what} does not have" for name in saved if name not in known]
    if problems:
        more = f", and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise MismatchError(
            f"{where} does not fit {what}: {'; '.join(problems[:6])}{more}.\n"
            f"Fix: {wrapper_hint(set(saved), known) or f'build {what} as it was when it was saved'}"
        )
    return result


def saved_names(current: Mapping[str, Any], saved: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """For each name of a model the name of the saved value to load, and what of that is contradictory.

    A tensor that has several names in the model may have been saved under any of them, as other programs do.
    """
    names, problems = {}, []
    saved_as: dict[Any, str] = {}
    for name, value in current.items():
        if name in saved and (memory := identity(value)) is not None:
            other = saved_as.setdefault(memory, name)
            if other != name and not torch.equal(saved[other], saved[name]):
                problems.append(f"{other} and {name} differ, and are one tensor in the model")
    for name, value in current.items():
        names[name] = name if name in saved else saved_as.get(identity(value), name)
    return names, problems


def difference(name: str, current: Any, saved: Any, *, exact: bool) -> str | None:
    """What is different between a tensor of the model and the one that was saved, or None."""
    if not isinstance(current, torch.Tensor) or not isinstance(saved, torch.Tensor) or is_lazy(current):
        return None
    if current.shape != saved.shape:
        return f"{name} has the shape {tuple(saved.shape)}, in the model {tuple(current.shape)}"
    if exact and current.dtype != saved.dtype:
        return f"{name} is {saved.dtype}, in the model {current.dtype}"
    return None


def wrapper_hint(saved: Iterable[str], known: Iterable[str]) -> str:
    """What to do about the prefix that a wrapper such as DataParallel or torch.compile puts before every name."""
    unknown, missing = set(saved) - set(known), set(known) - set(saved)
    for prefix in ("module.", "_orig_mod."):
        if unknown and all(name.startswith(prefix) for name in unknown):
            return f"the names were saved from inside of a wrapper: load into a model wrapped so that it has `{prefix}`"
        if missing and all(name.startswith(prefix) for name in missing):
            return f"the model is inside of a wrapper: load into model.{prefix.rstrip('.')}"
    return ""


def identity(value: Any) -> Any:
    """What the names of one tensor have in common; None for what has no memory."""
    if not isinstance(value, torch.Tensor) or is_lazy(value) or not value.numel():
        return None
    return value.data_ptr(), tuple(value.shape), value.stride(), value.dtype, value.device
