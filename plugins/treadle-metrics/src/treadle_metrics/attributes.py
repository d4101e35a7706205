"""The attributes of an object as the state that a checkpoint can hold."""

from __future__ import annotations

from typing import Any

import torch

from treadle_metrics.errors import MetricError


def attributes(target: Any, owner: str) -> dict[str, Any]:
    """A copy of an object's attributes, apart from settings such as functions, classes and devices.

    Args:
        target: The object.
        owner: Whose state it is, for the message.

    Raises:
        MetricError: if one of them is neither a tensor nor a plain value.

    Example:
        >>> class Largest:
        ...     def __init__(self):
        ...         self.largest, self.key = 0.0, len
        >>> attributes(Largest(), "Largest")
        {'largest': 0.0}
    """
    state = {}
    for name, value in vars(target).items():
        if is_plain(value):
            state[name] = copied(value)
        elif not (callable(value) or isinstance(value, (torch.device, torch.dtype))):
            raise MetricError(
                f"A checkpoint cannot hold the state of the metric {owner!r}: `{name}` of {type(target).__name__} is a "
                f"{type(value).__name__}, neither a tensor nor a plain value. Give {type(target).__name__} the methods "
                f"`state_dict` and `load_state_dict`."
            )
    return state


def put_attributes(target: Any, state: dict[str, Any]) -> None:
    """Set an object's attributes to a copy of what `attributes` gave."""
    for name, value in state.items():
        value = copied(value)
        setattr(target, name, tuple(value) if isinstance(getattr(target, name, None), tuple) else value)


def is_plain(value: Any) -> bool:
    """Whether a checkpoint can hold a value: a tensor, a number, a string, None, or a list or dict of these."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(each) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (torch.Tensor, str, int, float))


def copied(value: Any) -> Any:
    """A copy of a plain value or a tensor, which no later change in place reaches; tuples become lists."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: copied(each) for key, each in value.items()}
    return [copied(each) for each in value] if isinstance(value, (list, tuple)) else value
