"""The entries of `learner.cbstate`: what callbacks keep for other callbacks."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from treadle.errors import MismatchError
from treadle.state.numbers.series import Series
from treadle.state.propdict import PropDict
from treadle.state.run.values import has_state

#: What is created where the learner has none.
MADE: dict[str, type[Any]] = {"Series": Series}


def capture(cbstate: Mapping[str, Any]) -> dict[str, Any]:
    """What the entries hold.

    An entry may be an object with `state_dict` and `load_state_dict`, a mapping of names to entries, or a value that
    can be saved.
    """
    return {name: _captured(cbstate[name]) for name in sorted(cbstate)}


def _captured(value: Any) -> dict[str, Any]:
    if has_state(value):
        return {"object": type(value).__qualname__, "state": value.state_dict()}
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {"entries": capture(value)}
    return {"value": value}


def put_back(cbstate: MutableMapping[str, Any], saved: Mapping[str, Any], path: str = "cbstate") -> None:
    """Give the entries back what `capture` returned. An object that the learner has stays the same object.

    Raises:
        MismatchError: if an object is missing, or is of another class.
    """
    for name, entry in saved.items():
        where, current = f"{path}.{name}", cbstate.get(name)
        if "value" in entry:
            cbstate[name] = entry["value"]
        elif "entries" in entry:
            if not isinstance(current, MutableMapping):
                current = cbstate[name] = PropDict()
            put_back(current, entry["entries"], where)
        else:
            if name not in cbstate and entry["object"] in MADE:
                current = cbstate[name] = MADE[entry["object"]]()
            if type(current).__qualname__ != entry["object"]:
                raise MismatchError(
                    f"The checkpoint has a {entry['object']} for {where}, and the learner has "
                    f"{f'a {type(current).__qualname__}' if name in cbstate else 'nothing'} there.\n"
                    f"Fix: let the callback that writes it make it in on_init, as it is to be"
                )
            current.load_state_dict(entry["state"])  # type: ignore[union-attr]
