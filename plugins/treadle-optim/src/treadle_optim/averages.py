"""`Averages`: one average for each parameter of one or several models."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn
from treadle.authoring import models_by_name
from treadle.errors import MismatchError

#: Averages and the parameters that they follow, of one device and one type of numbers.
Group = tuple[list[torch.Tensor], list[torch.Tensor]]


class Averages:
    """One average for each parameter of one or several models.

    Args:
        model: A module, or a mapping of modules.
        values: The averages by the parameters' names, as in the models' `state_dict`. Default: the parameters as they
            are now.

    Raises:
        MismatchError: if the values are those of another model.

    Attributes:
        values: The averages by name; two names of one parameter have one average.
    """

    def __init__(self, model: Any, values: Mapping[str, torch.Tensor] | None = None) -> None:
        self.values: dict[str, torch.Tensor] = {}
        self._parameters: dict[str, dict[str, nn.Parameter]] = {}
        self._groups: dict[tuple[str, ...], list[Group]] = {}
        names: dict[int, str] = {}
        for model_name, module in models_by_name(model).items():
            held = self._parameters[model_name] = {}
            for leaf, parameter in module.named_parameters(remove_duplicate=False):
                name = f"{model_name}.{leaf}" if model_name else leaf
                first = names.setdefault(id(parameter), name)
                held[first] = parameter
                self.values[name] = self.values[first] if first != name else average(name, parameter, values)
        if values is not None and (unknown := values.keys() - self.values.keys()):
            raise another_model(f"there is no {min(unknown)} in the model")

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models; a single one has the empty name."""
        return tuple(self._parameters)

    def groups(self, models: Collection[str]) -> list[Group]:
        """The averages of models and the parameters that they follow, as torch's functions for lists want them."""
        key = tuple(models)
        if key not in self._groups:
            groups: dict[Any, Group] = {}
            merged = {name: parameter for model in key for name, parameter in self._parameters[model].items()}
            for name, parameter in merged.items():
                averages, parameters = groups.setdefault((parameter.device, parameter.dtype), ([], []))
                averages.append(self.values[name])
                parameters.append(parameter)
            self._groups[key] = list(groups.values())
        return self._groups[key]


def average(name: str, parameter: nn.Parameter, values: Mapping[str, torch.Tensor] | None) -> torch.Tensor:
    """The average of one parameter, where that is."""
    if values is None:
        return parameter.detach().clone()
    if name not in values:
        raise another_model(f"{name} has none")
    if values[name].shape != parameter.shape:
        raise another_model(f"that of {name} has the shape {tuple(values[name].shape)}, not {tuple(parameter.shape)}")
    return values[name].to(parameter.device, parameter.dtype)


def another_model(why: str) -> MismatchError:
    """The error for averages of a model that the learner has no longer."""
    return MismatchError(
        f"The averages are those of another model: {why}.\n"
        f"Fix: after setting a new model, make a new callback:\n    learner.replace_callback(EMA(0.999))"
    )


def tensors_of(model: Any) -> dict[str, torch.Tensor]:
    """The parameters and buffers of one or several models by name."""
    found: dict[str, torch.Tensor] = {}
    for prefix, module in models_by_name(model).items():
        start = f"{prefix}." if prefix else ""
        for tensors in (module.named_parameters, module.named_buffers):
            found |= {start + name: tensor for name, tensor in tensors(remove_duplicate=False)}
    return found


@torch.no_grad()
def copy_into(model: Any, values: Mapping[str, torch.Tensor]) -> None:
    """Copy values into the parameters and buffers of these names, in place.

    Past autograd's count of changes: what validation runs inside of a step is put back before its backward pass.
    """
    tensors = tensors_of(model)
    for name, value in values.items():
        tensors[name].data.copy_(value)
