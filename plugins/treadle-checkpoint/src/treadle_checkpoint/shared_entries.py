"""The entries of `learner.cbstate`: what callbacks keep for other callbacks."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from treadle import PropDict, Series

from treadle_checkpoint.errors import MismatchError

#: What is made anew where it is not there by itself.
MADE: dict[str, type[Any]] = {"Series": Series}


def gather(cbstate: Mapping[str, Any]) -> dict[str, Any]:
    """What the entries hold, as a tree.

    An entry may be an object with `state_dict` and `load_state_dict`, a mapping of names to entries, or a tree.
    """
    return {name: _gathered(cbstate[name]) for name in sorted(cbstate)}


def _gathered(value: Any) -> dict[str, Any]:
    if has_state(value):
        return {"object": type(value).__qualname__, "state": value.state_dict()}
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {"entries": gather(value)}
    return {"value": value}


def has_state(value: Any) -> bool:
    """Whether an object tells its state and takes it back."""
    return not isinstance(value, type) and all(
        callable(getattr(value, name, None)) for name in ("state_dict", "load_state_dict")
    )


def put(cbstate: MutableMapping[str, Any], saved: Mapping[str, Any], path: str = "cbstate") -> None:
    """Give the entries back what `gather` gave. An object that is there stays the same object.

    Raises:
        MismatchError: if an object is not there, or is of another class.
    """
    for name, said in saved.items():
        where, there = f"{path}.{name}", cbstate.get(name)
        if "value" in said:
            cbstate[name] = said["value"]
        elif "entries" in said:
            if not isinstance(there, MutableMapping):
                there = cbstate[name] = PropDict()
            put(there, said["entries"], where)
        else:
            if name not in cbstate and said["object"] in MADE:
                there = cbstate[name] = MADE[said["object"]]()
            if type(there).__qualname__ != said["object"]:
                raise MismatchError(
                    f"The checkpoint has a {said['object']} for {where}, and the learner has "
                    f"{f'a {type(there).__qualname__}' if name in cbstate else 'nothing'} there. "
                    f"Let the callback that writes it make it in on_init, as it is to be."
                )
            there.load_state_dict(said["state"])  # type: ignore[union-attr]
