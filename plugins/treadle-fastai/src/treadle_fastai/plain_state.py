"""What a checkpoint keeps of an object that says nothing of its state: its attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from treadle.authoring import flatten, has_state
from treadle.errors import CallbackError, TreadleError

#: What belongs to the machinery.
NEVER = ("name", "_access", "_adapter", "_view", "_learn", "_waiting", "exclude", "not_min")


def plain_state(callback: Any) -> dict[str, Any]:
    """The attributes of a callback: plain values and tensors as they are, the others by their `state_dict`.

    Functions and classes are left out: whoever makes the callback again passes them again.

    Raises:
        CallbackError: for an attribute that is neither.
    """
    values: dict[str, Any] = {}
    objects: dict[str, Any] = {}
    for name, value in vars(callback).items():
        if name in NEVER or name in callback.exclude:
            continue
        if has_state(value):
            objects[name] = value.state_dict()
        elif not callable(value):
            try:
                flatten(value, name, {})
            except TreadleError as error:
                cls = type(callback).__name__
                raise CallbackError(
                    f"{callback.name}.{name} is a {type(value).__name__}, which a checkpoint cannot hold, so a resumed "
                    f"run would go on without it.\n"
                    f"Fix: if it needs not be saved, name it in {cls}; or define state_dict and load_state_dict:\n"
                    f'    exclude = ["{name}"]'
                ) from error
            values[name] = value
    objects = {**vars(callback).get("_waiting", {}), **objects}
    return {kind: found for kind, found in (("values", values), ("objects", objects)) if found}


def load_plain_state(callback: Any, state: Mapping[str, Any]) -> None:
    """Give a callback its attributes back; the state of an object that it has not made yet waits for that."""
    for name, value in state.get("values", {}).items():
        setattr(callback, name, value)
    vars(callback).pop("_waiting", None)
    waiting = {}
    for name, saved in state.get("objects", {}).items():
        if name in vars(callback):
            getattr(callback, name).load_state_dict(saved)
        else:
            waiting[name] = saved
    if waiting:
        vars(callback)["_waiting"] = waiting


def refuse_waiting(callback: Any) -> None:
    """Refuse to train where an object is still not there whose state was saved.

    Raises:
        CallbackError: naming it.
    """
    for name in vars(callback).get("_waiting", ()):
        raise CallbackError(
            f"{callback.name}.{name} has state to load, and is not there when training goes on.\n"
            f"Fix: make it where the callback is made, or in on_train_begin."
        )
