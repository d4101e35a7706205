"""The entries of `learner.cbstate`: what callbacks keep for other callbacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from treadle.errors import MismatchError, NotSaveableError
from treadle.state.numbers.series import Series
from treadle.state.propdict import PropDict
from treadle.state.run.values import has_state
from treadle.state.views.read_only import ReadOnly

#: What is created where the learner has none.
MADE: dict[str, type[Any]] = {"Series": Series}

#: Mappings that are made where the learner has another or none.
MAPPINGS: dict[str, type[Any]] = {"PropDict": PropDict, "dict": dict}

#: Stands for what is not there.
ABSENT: Any = object()


def capture(cbstate: Mapping[str, Any], path: str = "cbstate") -> dict[str, Any]:
    """What the entries hold.

    An entry may be an object with `state_dict` and `load_state_dict`, a mapping of names to entries, or a value that
    can be saved and comes back as what it was.

    Raises:
        NotSaveableError: for a value that would come back as another type.
    """
    return {name: _captured(cbstate[name], f"{path}.{name}") for name in sorted(cbstate)}


def _captured(value: Any, where: str) -> dict[str, Any]:
    if has_state(value):
        return {"object": type(value).__qualname__, "state": value.state_dict()}
    if type(value) in (PropDict, ReadOnly):  # the latter is what a view gives of the former
        return {"entries": capture(value, where)}
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        entries = {name: _captured(item, f"{where}.{name}") for name, item in value.items()}
        return {"entries": entries, "mapping": type(value).__qualname__}
    refuse_other_containers(value, where)
    return {"value": value}


def refuse_other_containers(value: Any, where: str) -> None:
    """Refuse a container of a kind of its own inside of a value: it would come back as a plain one."""
    for kind in (dict, list, tuple):
        if isinstance(value, kind):
            if type(value) is not kind:
                raise NotSaveableError(
                    f"A checkpoint cannot hold {where}: it has a {type(value).__qualname__}, which would come back as "
                    f"a {kind.__name__}.\n"
                    f"Fix: keep a {kind.__name__}, or an object with `state_dict` and `load_state_dict`"
                )
            for item in value.values() if isinstance(value, dict) else value:
                refuse_other_containers(item, where)


def put_back(cbstate: MutableMapping[str, Any], saved: Mapping[str, Any], path: str = "cbstate") -> None:
    """Give the entries back what `capture` returned. An object that the learner has stays the same object.

    Raises:
        MismatchError: if an object or a mapping is missing, or is of another class.
    """
    for name, entry in saved.items():
        where, current = f"{path}.{name}", cbstate.get(name, ABSENT)
        if "value" in entry:
            cbstate[name] = entry["value"]
        elif "entries" in entry:
            kind = entry.get("mapping", "PropDict")
            if type(current).__qualname__ != kind and kind in MAPPINGS:
                current = cbstate[name] = MAPPINGS[kind]()
            if type(current).__qualname__ != kind:
                raise not_made(kind, where, current)
            if kind != "PropDict":
                replace_names(current, entry["entries"])
            put_back(current, entry["entries"], where)
        else:
            if type(current).__qualname__ != entry["object"] and entry["object"] in MADE:
                current = cbstate[name] = MADE[entry["object"]]()
            if type(current).__qualname__ != entry["object"]:
                raise not_made(entry["object"], where, current)
            current.load_state_dict(entry["state"])


def replace_names(mapping: MutableMapping[str, Any], names: Iterable[str]) -> None:
    """Leave those names in a mapping alone that it is to have, in their order."""
    before = {name: mapping.pop(name) for name in list(mapping)}
    mapping.update({name: before.get(name, ABSENT) for name in names})


def not_made(kind: str, where: str, current: Any) -> MismatchError:
    """The error for what is not as its callback makes it."""
    return MismatchError(
        f"The checkpoint has a {kind} for {where}, and the learner has "
        f"{f'a {type(current).__qualname__}' if current is not ABSENT else 'nothing'} there.\n"
        f"Fix: let the callback that writes it make it in on_init, as it is to be"
    )
