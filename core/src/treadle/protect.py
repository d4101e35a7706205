"""Views of the learner that let through what a callback declared, and nothing else.

For each `state_access` a class is generated once, with a property for each declared path; an
access then costs an attribute look-up. Only a name that was not declared reaches `__getattr__`,
which says what line to add.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, ClassVar

from treadle.access import FIELDS, Permission, Read, Write, checked, parts
from treadle.errors import ProtectedException
from treadle.propdict import PropDict, ReadOnly, readable

if TYPE_CHECKING:
    from treadle.callback import Callback
    from treadle.learner import Learner


def view(learner: Learner, callback: Callback) -> Any:
    """The learner as a callback may see it.

    Args:
        learner: The learner.
        callback: The callback, whose `state_access` says what it may do.

    Example:
        >>> from treadle import Callback, toy_learner
        >>> class Peeker(Callback):
        ...     state_access = {"model": Read}
        >>> seen = view(toy_learner(), Peeker())
        >>> seen.model
        Linear(in_features=1, out_features=1, bias=False)
        >>> seen.optimizer
        Traceback (most recent call last):
        ...
        treadle.errors.ProtectedException: Peeker reads `optimizer` and does not declare it. \
Add to Peeker.state_access: "optimizer": Read
    """
    declared = checked(callback.state_access, callback.name)
    return view_class(tuple(sorted(declared.items())))(learner, callback.name)


class View:
    """Base of the generated classes. An instance stands for the learner or a part of it."""

    __slots__ = ("_learner", "_owner")

    _path: ClassVar[str] = ""
    _permission: ClassVar[type[Permission] | None] = None
    _leaves: ClassVar[dict[str, type[Permission]]] = {}
    _branches: ClassVar[dict[str, type[View]]] = {}

    def __init__(self, learner: Learner, owner: str) -> None:
        put = object.__setattr__
        put(self, "_learner", learner)
        put(self, "_owner", owner)
        for name, branch in self._branches.items():
            put(self, name, branch(learner, owner))

    def __getattr__(self, name: str) -> Any:
        """Reached for names that were not declared, and for declared ones that are not there now."""
        if name in self._leaves or self._permission is not None:
            return readable(attribute_or_item(self._target(), name), self._of(name))
        if name in ("shape", "__array__", "__len__") or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        raise self._refusal("reads", name, Read)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._leaves.get(name) is Write or self._permission is Write:
            put_attribute_or_item(self._target(), name, value)
        else:
            raise self._refusal("writes", name, Write)

    def __delattr__(self, name: str) -> None:
        if self._leaves.get(name) is Write or self._permission is Write:
            target = self._target()
            if isinstance(target, MutableMapping):
                del target[name]
            else:
                delattr(target, name)
        else:
            raise self._refusal("deletes", name, Write)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def __contains__(self, name: str) -> bool:
        if name in self._leaves or name in self._branches or self._permission is not None:
            target = self._target()
            return name in target if isinstance(target, Mapping) else hasattr(target, name)
        raise self._refusal("asks for", name, Read)

    def __iter__(self) -> Iterator[str]:
        if self._permission is None:
            raise ProtectedException(
                f"{self._owner} iterates over `{self._path or 'the learner'}` and declares only parts of it: "
                f'add to {self._owner}.state_access: "{self._path}": Read'
            )
        return iter(self._target())

    def __repr__(self) -> str:
        return f"<{self._path or 'learner'} as {self._owner} sees it>"

    def _target(self) -> Any:
        target: Any = self._learner
        for part in parts(self._path) if self._path else ():
            target = attribute_or_item(target, part)
        return target

    def _of(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _refusal(self, does: str, name: str, permission: type[Permission]) -> ProtectedException:
        path, owner = self._of(name), self._owner
        if not self._path and name not in FIELDS:
            return ProtectedException(
                f"{owner} {does} `{name}`, which is no state of the learner; what callbacks can declare "
                f"and use is: {', '.join(FIELDS)}."
            )
        if does == "writes" and (name in self._leaves or name in self._branches):
            return ProtectedException(
                f'{owner} writes `{path}`, which it declares `Read`. Change in {owner}.state_access: "{path}": Write'
            )
        return ProtectedException(
            f"{owner} {does} `{path}` and does not declare it. "
            f'Add to {owner}.state_access: "{path}": {permission.__name__}'
        )


@functools.lru_cache(maxsize=4096)
def view_class(declared: tuple[tuple[str, type[Permission]], ...], path: str = "") -> type[View]:
    """The class of the views for a declaration.

    Args:
        declared: The paths with their permissions, sorted; relative to `path`.
        path: What part of the learner the view stands for. Default: all of it.
    """
    own: type[Permission] | None = None
    below: dict[str, dict[str, type[Permission]]] = {}
    for declared_path, permission in declared:
        head, _, rest = declared_path.partition(".")
        if not head:
            own = permission
        else:
            below.setdefault(head, {})[rest] = permission
    namespace: dict[str, Any] = {"_path": path, "_permission": own, "_leaves": {}, "_branches": {}}
    slots = []
    for name, rest_of in below.items():
        full = f"{path}.{name}" if path else name
        if set(rest_of) == {""}:
            namespace["_leaves"][name] = rest_of[""]
            namespace[name] = property(reader(full, rest_of[""]))
        else:
            slots.append(name)
            namespace["_branches"][name] = view_class(tuple(sorted(rest_of.items())), full)
    namespace["__slots__"] = tuple(slots)
    return type(f"View_{path.replace('.', '_') or 'learner'}", (View,), namespace)


def reader(path: str, permission: type[Permission]) -> Any:
    """A function of a view that gets what is at a path, by plain attribute look-ups."""
    if not all(part.isidentifier() for part in parts(path)):
        raise_to_getattr = AttributeError(path)

        def look_up(self: View) -> Any:
            raise raise_to_getattr

        return look_up
    template = "lambda self: self._learner.{path}"
    if permission is Read:
        template = (
            "lambda self: value if type(value := self._learner.{path}) is not PropDict else ReadOnly(value, '{path}')"
        )
    return eval(template.format(path=path), {"PropDict": PropDict, "ReadOnly": ReadOnly})


def attribute_or_item(owner: Any, name: str) -> Any:
    """What is called `name` in an object or a mapping."""
    if isinstance(owner, Mapping) and not isinstance(owner, PropDict):
        return owner[name]
    return getattr(owner, name)


def put_attribute_or_item(owner: Any, name: str, value: Any) -> None:
    """Set what is called `name` in an object or a mapping."""
    if isinstance(owner, MutableMapping):
        owner[name] = value
    else:
        setattr(owner, name, value)
