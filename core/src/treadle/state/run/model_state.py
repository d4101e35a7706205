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


def model_state(model: Any, *, copy: bool = True) -> dict[str, Any]:
    """What the `state_dict` of a model holds, by name; with several models each name starts with its model's.

    To restore the best weights, keep this and put it back with `load_model_state`; a `state_dict` may hold it.

    Args:
        model: A module, or a mapping of modules.
        copy: Whether to copy the tensors; one that has several names is copied once. Default: yes.

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
        for key, value in module.state_dict().items():
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
    for module, own_state in match_model_state(model, state, where):
        module.load_state_dict(own_state)


def match_model_state(
    model: Any, saved: Mapping[str, Any], where: str, *, exact: bool = False
) -> list[tuple[nn.Module, dict[str, Any]]]:
    """What each module is to load; see `load_model_state`.

    Args:
        exact: Whether the types of the numbers have to agree as well. Default: no, they are converted.
    """
    result, problems, known = [], [], set()
    for prefix, module in models_by_name(model).items():
        current = {f"{prefix}.{key}" if prefix else key: (key, value) for key, value in module.state_dict().items()}
        sources, contradictions = sources_of({name: value for name, (_, value) in current.items()}, saved)
        problems += contradictions
        state = {}
        for name, (key, value) in current.items():
            if sources[name] not in saved:
                problems.append(f"it lacks {name}")
            elif problem := difference(name, value, saved[sources[name]], exact=exact):
                problems.append(problem)
            else:
                state[key] = saved[sources[name]]
        known |= set(current)
        result.append((module, state))
    problems += [f"it has {name}, which the model does not have" for name in saved if name not in known]
    if problems:
        more = f", and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise MismatchError(
            f"{where} does not fit the model: {'; '.join(problems[:6])}{more}.\n"
            f"Fix: {wrapper_hint(set(saved), known) or 'build the model as it was when it was saved'}"
        )
    return result


def sources_of(current: Mapping[str, Any], saved: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """For each name of a model the name of the saved value to load, and what of that is contradictory.

    A tensor that has several names in the model may have been saved under any of them, as other programs do.
    """
    sources, problems = {}, []
    saved_as: dict[Any, str] = {}
    for name, value in current.items():
        if name in saved and (memory := identity(value)) is not None:
            other = saved_as.setdefault(memory, name)
            if other != name and not torch.equal(saved[other], saved[name]):
                problems.append(f"{other} and {name} differ, and are one tensor in the model")
    for name, value in current.items():
        sources[name] = name if name in saved else saved_as.get(identity(value), name)
    return sources, problems


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
