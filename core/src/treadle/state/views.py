"""Views of the learner that let through what a callback declared, and nothing else.

For each `state_access` a class is generated once, with a property for each declared path; an
access then costs an attribute look-up. Only a name that was not declared reaches `__getattr__`,
which says what line to add.
"""

from __future__ import annotations

import copy
import functools
import keyword
from collections.abc import Iterator, Mapping, MutableMapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

from treadle.access import FIELDS, Permission, Read, Write, checked, parts
from treadle.errors import ProtectedException
from treadle.state.gradients import Gradients
from treadle.state.propdict import PropDict, missing, named

if TYPE_CHECKING:
    from treadle.callback import Callback
    from treadle.learner import Learner


#: The fields that are nothing but named states.
STATES = ("step", "cbstate", "data", "params")


#: What many read in every step: data, and so no `PropDict`.
PLAIN = ("step.xs", "step.ys", "step.yhats", "step.loss")


ONLY_THE_LOOP = "which only the loop does.\nFix: keep counts of your own in the callback or in `cbstate`."


#: What a reader gets a view of instead of the thing itself.
VIEWED = frozenset({PropDict, Gradients})


class ReadOnly(Mapping[str, Any]):
    """A mapping of state as somebody sees it who may read all of it and write nothing.

    Args:
        target: What is looked at; later changes of it show.
        path: Where it stands in the learner, for the error message.
    """

    __slots__ = ("_path", "_target")

    def __init__(self, target: PropDict | Gradients, path: str) -> None:
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "_path", path)

    def __getattr__(self, name: str) -> Any:
        if name in ReadOnly.__slots__:  # not set yet, while a copy is being made
            raise AttributeError(name)
        if name in self._target:
            return self[name]
        if hasattr(PropDict, name):  # `update`, `pop` and the like
            raise ProtectedException(
                f"`{self._path}` was declared `Read`, so `{self._path}.{name}(...)` cannot be called. "
                f'Add to state_access: "{self._path}": Write'
            )
        raise AttributeError(missing(name, self._target), name=name)

    def __getitem__(self, name: str) -> Any:
        return readable(self._target[name], f"{self._path}.{name}")

    def __reduce__(self) -> tuple[type[PropDict], tuple[dict[str, Any]]]:
        """A copy is a `PropDict` of the reader's own."""
        return PropDict, (dict(named(self._target)),)

    def __setattr__(self, name: str, value: Any) -> None:
        raise ProtectedException(
            f"`{self._path}` was declared `Read`, so `{self._path}.{name}` cannot be written. "
            f'Add to state_access: "{self._path}.{name}": Write'
        )

    __setitem__ = __setattr__

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    __delitem__ = __delattr__

    def __contains__(self, name: object) -> bool:
        return name in self._target

    def __iter__(self) -> Iterator[str]:
        return iter(self._target)

    def __len__(self) -> int:
        return len(self._target)

    def __repr__(self) -> str:
        return f"ReadOnly({self._target!r})"


def readable(value: Any, path: str) -> Any:
    """The value, as a reader may have it."""
    return ReadOnly(value, path) if type(value) in VIEWED else value


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


class ReadOnlyObject:
    """An object whose attributes can be read and not written.

    Args:
        target: The object.
        refusal: The message for those who write.
    """

    __slots__ = ("_refusal", "_target")

    def __init__(self, target: Any, refusal: str) -> None:
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "_refusal", refusal)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ReadOnlyObject.__slots__:  # not set yet, while a copy is being made
            raise AttributeError(name)
        return getattr(self._target, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise ProtectedException(self._refusal)

    def __delattr__(self, name: str) -> None:
        raise ProtectedException(self._refusal)

    def __reduce__(self) -> tuple[type[ReadOnlyObject], tuple[Any, str]]:
        return ReadOnlyObject, (self._target, self._refusal)

    def __repr__(self) -> str:
        return repr(self._target)


class View:
    """Base of the generated classes. An instance stands for the learner or a part of it.

    `progress` can be read without a declaration, since nobody but the loop writes it.
    """

    __slots__ = ("_learner", "_owner", "_parts")

    _path: ClassVar[str] = ""
    _permission: ClassVar[type[Permission] | None] = None
    _leaves: ClassVar[dict[str, type[Permission]]] = {}
    _branches: ClassVar[dict[str, type[View]]] = {}

    def __init__(self, learner: Learner, owner: str) -> None:
        put = object.__setattr__
        put(self, "_learner", learner)
        put(self, "_owner", owner)
        if not self._path:
            put(self, "progress", ReadOnlyObject(learner.progress, f"{owner} writes `progress`, {ONLY_THE_LOOP}"))
        put(self, "_parts", {name: branch(learner, owner) for name, branch in self._branches.items()})
        for name, part in self._parts.items():
            if is_name(name):
                put(self, name, part)

    def __getattr__(self, name: str) -> Any:
        """Reached for names that were not declared, and for declared ones that are not there now."""
        if name in self._branches:
            return self._parts[name]
        allowed = self._allowed(name)
        if allowed is Write:
            return attribute_or_item(self._target(), name)
        if allowed is Read:
            target = self._target()
            if type(target) is PropDict and self._permission is Read:
                target = ReadOnly(target, self._path)
            return readable(attribute_or_item(target, name), self._of(name))
        if name in ("shape", "__array__", "__len__") or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        if name in ("items", "keys", "values") and self._path:
            raise self._partial()
        if not self._path and name in STATES:  # the refusal of what is asked for next says more
            return view_class((), name)(self._learner, self._owner)
        raise self._refusal("reads", name, Read)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._allowed(name) is not Write:
            raise self._refusal("writes", name, Write)
        put_attribute_or_item(self._target(), name, value)

    def __delattr__(self, name: str) -> None:
        if self._allowed(name) is not Write:
            raise self._refusal("deletes", name, Write)
        target = self._target()
        if isinstance(target, MutableMapping):
            del target[name]
        else:
            delattr(target, name)

    # An item may have dots in its name, as in `learner.params["layer.weight"]`.

    def __getitem__(self, name: str) -> Any:
        if "." not in str(name):
            return getattr(self, str(name))
        allowed = self._allowed(name)
        if allowed is None:
            raise self._refusal("reads", name, Read)
        value = self._target()[name]
        return value if allowed is Write else readable(value, self._of(name))

    def get(self, name: str, default: Any = None) -> Any:
        """What is called `name`, or the default if it is not there now."""
        return self[name] if self.__contains__(name) else default

    def __setitem__(self, name: str, value: Any) -> None:
        self.__setattr__(str(name), value)

    def __delitem__(self, name: str) -> None:
        self.__delattr__(str(name))

    def __contains__(self, name: str) -> bool:
        if name not in self._branches and self._allowed(name) is None:
            raise self._refusal("asks for", name, Read)
        target = self._target()
        return name in target if isinstance(target, Mapping) else hasattr(target, name)

    def __iter__(self) -> Iterator[str]:
        if self._permission is None:
            raise self._partial()
        return iter(self._target())

    def __deepcopy__(self, memo: dict[int, Any]) -> View:
        return type(self)(copy.deepcopy(self._learner, memo), self._owner)

    def __repr__(self) -> str:
        return f"<{self._path or 'learner'} as {self._owner} sees it>"

    def _target(self) -> Any:
        target: Any = self._learner
        for part in parts(self._path) if self._path else ():
            target = attribute_or_item(target, part)
        return target

    def _of(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    @classmethod
    def _allowed(cls, name: str) -> type[Permission] | None:
        """What was declared for a name, or for what is above it."""
        head, _, rest = name.partition(".")
        if head in cls._branches:
            branch = cls._branches[head]
            return branch._allowed(rest) if rest else branch._permission
        return Write if cls._permission is Write else cls._leaves.get(head, cls._permission)

    def _partial(self) -> ProtectedException:
        return ProtectedException(
            f"{self._owner} iterates over `{self._path or 'the learner'}` and declares only parts of it: "
            f'add to {self._owner}.state_access: "{self._path}": Read'
        )

    def _refusal(self, does: str, name: str, permission: type[Permission]) -> ProtectedException:
        path, owner = self._of(name), self._owner
        if path == "progress":
            return ProtectedException(f"{owner} {does} `progress`, {ONLY_THE_LOOP}")
        if not self._path and name not in FIELDS:
            return ProtectedException(
                f"{owner} {does} `{name}`, which is no state of the learner; what callbacks can declare "
                f"and use is: {', '.join(FIELDS)}."
            )
        if permission is Write and name in self._leaves:
            return ProtectedException(
                f'{owner} {does} `{path}`, which it declares `Read`. Change in {owner}.state_access: "{path}": Write'
            )
        return ProtectedException(
            f"{owner} {does} `{path}` and does not declare it. "
            f'Add to {owner}.state_access: "{path}": {permission.__name__}'
        )


@functools.lru_cache(maxsize=4096)
def view_class(
    declared: tuple[tuple[str, type[Permission]], ...], path: str = "", above: type[Permission] | None = None
) -> type[View]:
    """The class of the views for a declaration.

    Args:
        declared: The paths with their permissions, sorted; relative to `path`.
        path: What part of the learner the view stands for. Default: all of it.
        above: What was declared for a path above it. Default: nothing.
    """
    own = above
    below: dict[str, dict[str, type[Permission]]] = {}
    for declared_path, permission in declared:
        head, _, rest = declared_path.partition(".")
        if head:
            below.setdefault(head, {})[rest] = permission
        elif above is not Write:  # it includes Read
            own = permission
    namespace: dict[str, Any] = {"_path": path, "_permission": own, "_leaves": {}, "_branches": {}}
    slots = [] if path else ["progress"]
    for name, rest_of in below.items():
        full = f"{path}.{name}" if path else name
        if set(rest_of) == {""}:
            permission = Write if own is Write else rest_of[""]
            namespace["_leaves"][name] = permission
            if all(map(is_name, parts(full))):
                namespace[name] = property(reader(full, permission))
        else:
            namespace["_branches"][name] = view_class(tuple(sorted(rest_of.items())), full, own)  # type: ignore[arg-type]
            if is_name(name):
                slots.append(name)
    namespace["__slots__"] = tuple(slots)
    return type(f"View_{path.replace('.', '_') or 'learner'}", (View,), namespace)


def is_name(part: str) -> bool:
    """Whether a part of a path can be written as an attribute in Python."""
    return part.isidentifier() and not keyword.iskeyword(part)


def reader(path: str, permission: type[Permission]) -> Any:
    """A function of a view that gets what is at a path, by plain attribute look-ups."""
    if permission is Write or path in PLAIN:
        return attrgetter(f"_learner.{path}")  # enters no Python function
    template = "lambda self: value if type(value := self._learner.{path}) not in VIEWED else ReadOnly(value, '{path}')"
    return eval(template.format(path=path), {"VIEWED": VIEWED, "ReadOnly": ReadOnly})


def attribute_or_item(owner: Any, name: str) -> Any:
    """What is called `name` in an object or a mapping."""
    if isinstance(owner, Mapping) and not isinstance(owner, (PropDict, ReadOnly)):
        return owner[name]
    return getattr(owner, name)


def put_attribute_or_item(owner: Any, name: str, value: Any) -> None:
    """Set what is called `name` in an object or a mapping."""
    if isinstance(owner, (MutableMapping, Gradients)):
        owner[name] = value
    else:
        setattr(owner, name, value)
