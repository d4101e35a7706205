"""Which of torch's conditions on what it has compiled are asked in each step."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

#: The constants of a unit, which nobody changes.
OWN = ("buffer_names", "cls", "defaults", "names", "sizes", "trained", "updates", "wants_grads", "where")

#: The functions that a unit calls, and the modules of torch in which these stand. The other modules stay: they have
#: switches.
INTERNAL = re.compile(
    r"G\['(__builtins_dict__|functional_call|grad_and_value|step_of|__import_torch_dot_("
    r"_dynamo|_functorch|nn_dot_utils_dot__named_member_accessor|nn_dot_utils_dot_stateless|optim_dot_|"
    r"utils_dot__foreach_utils|utils_dot__pytree))|__import__\('torch'\)\.utils\._pytree"
)

#: The variable with which the name of a condition begins.
VARIABLE = re.compile(r"(?:L\[')?(\w+)")


def is_needed(name: str) -> bool:
    """Whether something could change on which there is a condition: a model, a batch, a setting, a user's variable."""
    if INTERNAL.match(name):
        return False
    variable = VARIABLE.match(name)
    return variable is None or variable[1] not in OWN


def needed(conditions: Sequence[Any]) -> list[bool]:
    """For each of torch's conditions, whether it is kept; half of them are on torch's own functions."""
    return [is_needed(condition.name) for condition in conditions]


def with_fewer_conditions(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `torch.compile` with which it keeps the conditions that are needed, where it can be asked that."""
    more = dict(options.get("options") or {})  # torch takes out what it has read
    if options.get("mode") is None and hasattr(torch.compiler, "skip_guard_on_inbuilt_nn_modules_unsafe"):
        more.setdefault("guard_filter_fn", needed)
    return {**options, "options": more} if more else dict(options)
