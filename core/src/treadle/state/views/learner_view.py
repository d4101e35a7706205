"""Views of the learner that let through what a callback declared, and nothing else.

For each `state_access` a class is generated once, with a property for each declared path; an
access then costs an attribute look-up. Only a name that was not declared reaches `__getattr__`,
which says what line to add.
"""

from __future__ import annotations

import copy
import functools
import keyword
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

from treadle.access import FIELDS, Permission, Read, Write, checked, parts
from treadle.errors import ProtectedException, closest
from treadle.state.gradients import Gradients
from treadle.state.propdict import PropDict
from treadle.state.views.read_only import VIEWED, ReadOnly, read_only, read_only_object

if TYPE_CHECKING:
    from treadle.callback import Callback
    from treadle.learner import Learner


#: The fields that are nothing but named states.
STATES = ("step", "cbstate", "data", "params")

#: What many callbacks read in every step: data, which are never wrapped in a `ReadOnly`.
PLAIN = ("step.xs", "step.ys", "step.yhats", "step.loss")

ONLY_THE_LOOP = "which only the loop does.\nFix: keep counts of your own in the callback or in `cbstate`."


def view(learner: Learner, callback: Callback) -> Any:
    """The learner as a callback may see it, by its `state_access`.

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
        treadle.errors.ProtectedException: Peeker reads `optimizer` and does not declare it.
        Fix: add to Peeker.state_access:
            "optimizer": Read
    """
    declared = checked(callback.state_access, callback.name)
    return view_class(tuple(sorted(declared.items())))(learner, callback.name)


def learner_of(learner: Any) -> Any:
    """The learner that a callback has a view of, or the learner itself."""
    return getattr(learner, "_learner", learner)


class View:
    """Base of the generated classes. An instance stands for the learner or a part of it.

    `progress` can be read without a declaration, since only the loop writes it.

    Attributes:
        _path: The part of the learner that it stands for; empty for all of it.
        _permission: What was declared for that path or one above it, or None.
        _declared: The names directly below that were declared, with what may be done there.
        _branches: The classes of the names below of which only parts were declared.
    """

    __slots__ = ("_learner", "_owner", "_views")

    _path: ClassVar[str] = ""
    _permission: ClassVar[type[Permission] | None] = None
    _declared: ClassVar[dict[str, type[Permission]]] = {}
    _branches: ClassVar[dict[str, type[View]]] = {}

    def __init__(self, learner: Learner, owner: str) -> None:
        views = {name: branch(learner, owner) for name, branch in self._branches.items()}
        fields = {"_learner": learner, "_owner": owner, "_views": views}
        fields |= {name: part for name, part in views.items() if is_name(name)}
        if not self._path:
            fields["progress"] = read_only_object(learner.progress, f"{owner} writes `progress`, {ONLY_THE_LOOP}")
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    # Attributes. Those that were declared and are there are properties of the generated class.

    def __getattr__(self, name: str) -> Any:
        if name in self._branches:
            return self._views[name]
        permission = self._permission_for(name)
        if permission is Write:
            return get_part(self._target(), name)
        if permission is Read:
            target = self._target()
            if type(target) is PropDict and self._permission is Read:
                target = ReadOnly(target, self._path)
            return read_only(get_part(target, name), self._path_of(name))
        if name in ("shape", "__array__", "__len__") or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)  # what tools look for in any object
        if name in ("items", "keys", "values") and self._path:
            raise self._partial()
        if not self._path and name in STATES:  # the refusal of what is asked for next says more
            return view_class((), name)(self._learner, self._owner)
        raise self._refusal("reads", name, Read)

    def __setattr__(self, name: str, value: Any) -> None:
        if self._declared.get(name) is not Write and self._permission_for(name) is not Write:
            raise self._refusal("writes", name, Write)
        set_part(self._target(), name, value)

    def __delattr__(self, name: str) -> None:
        if self._permission_for(name) is not Write:
            raise self._refusal("deletes", name, Write)
        target = self._target()
        if isinstance(target, MutableMapping):
            del target[name]
        else:
            delattr(target, name)

    # Items. One may have dots in its name, as in `learner.params["layer.weight"]`.

    def __getitem__(self, name: str) -> Any:
        if "." not in str(name):
            return getattr(self, str(name))
        permission = self._permission_for(name)
        if permission is None:
            raise self._refusal("reads", name, Read)
        value = self._target()[name]
        return value if permission is Write else read_only(value, self._path_of(name))

    def get(self, name: str, default: Any = None) -> Any:
        """What is called `name`, or the default if it is not there now."""
        return self[name] if self.__contains__(name) else default

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, str(name), value)

    def __delitem__(self, name: str) -> None:
        delattr(self, str(name))

    def __contains__(self, name: str) -> bool:
        if name not in self._declared and name not in self._branches and self._permission_for(name) is None:
            raise self._refusal("asks for", name, Read)
        target = self._target()
        if type(target) is PropDict:  # as the state of a step is
            return name in vars(target)
        return name in target if isinstance(target, Mapping) else hasattr(target, name)

    def __iter__(self) -> Iterator[str]:
        if self._permission is None:
            raise self._partial()
        return iter(self._target())

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *self._names()})

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]  # what `vars` looks for
        if self._permission is None and not (self._declared or self._branches):
            raise self._partial()
        return {name: self[name] for name in sorted(self._names()) if self._is_there(name)}

    def __deepcopy__(self, memo: dict[int, Any]) -> View:
        return type(self)(copy.deepcopy(self._learner, memo), self._owner)

    def __repr__(self) -> str:
        return f"<{self._path or 'learner'} as {self._owner} sees it>"

    # What it stands for, and what may be done there.

    def _names(self) -> set[str]:
        """The names that may be used here."""
        declared = {*self._declared, *self._branches}
        return declared | self._present() if self._permission is not None else declared

    def _present(self) -> set[str]:
        """The names that are there now, whether they may be used or not."""
        try:
            target = self._target()
        except (AttributeError, KeyError):  # what stands above it is not there yet
            return set()
        if not self._path:
            return set(FIELDS)
        return set(target if isinstance(target, (Mapping, Gradients)) else vars(target))

    def _is_there(self, name: str) -> bool:
        return name in self._branches or name in self._present() or hasattr(self._target(), name)

    def _target(self) -> Any:
        return functools.reduce(get_part, parts(self._path) if self._path else (), self._learner)

    def _path_of(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    @classmethod
    def _permission_for(cls, name: str) -> type[Permission] | None:
        """What was declared for a name, or for what is above it."""
        head, _, rest = name.partition(".")
        if head in cls._branches:
            branch = cls._branches[head]
            return branch._permission_for(rest) if rest else branch._permission
        return Write if cls._permission is Write else cls._declared.get(head, cls._permission)

    def _partial(self) -> ProtectedException:
        what = f"{self._owner} iterates over `{self._path or 'the learner'}` and declares only parts of it"
        fix = f'add to {self._owner}.state_access:\n    "{self._path}": Read'
        return ProtectedException(f"{what}.\nFix: {fix}", self._path)

    def _refusal(self, does: str, name: str, permission: type[Permission]) -> ProtectedException:
        path, what = self._path_of(name), f"{self._owner} {does} `{self._path_of(name)}`"
        if path == "progress":
            return ProtectedException(f"{what}, {ONLY_THE_LOOP}")
        if path == "loop":
            permission = Write  # there is nothing to read
        known = {*FIELDS} if not self._path else self._present() | {*self._declared, *self._branches}
        meant = None if name in known or "." in name else closest(name, known)  # a parameter's name is rarely typed
        guess = f" Did you mean `{self._path_of(meant)}`?" if meant else ""
        if not self._path and name not in FIELDS:
            return ProtectedException(
                f"{what}, which is not a state of the learner.{guess}\n"
                f"Fix: declare and use one of: {', '.join(FIELDS)}."
            )
        fix = f'state_access:\n    "{path}": {permission.__name__}'
        needed = path, permission.__name__
        if permission is Write and name in self._declared:
            return ProtectedException(f"{what}, which it declares `Read`.\nFix: change in {self._owner}.{fix}", *needed)
        add = f"{'correct the name, or ' if guess else ''}add to {self._owner}.{fix}"
        return ProtectedException(f"{what} and does not declare it.{guess}\nFix: {add}", *needed)


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
    permission = above
    below: dict[str, dict[str, type[Permission]]] = {}
    for declared_path, declared_permission in declared:
        head, _, rest = declared_path.partition(".")
        if head:
            below.setdefault(head, {})[rest] = declared_permission
        elif above is not Write:  # it includes Read
            permission = declared_permission
    leaves: dict[str, type[Permission]] = {}
    branches: dict[str, type[View]] = {}
    namespace: dict[str, Any] = {}
    for name, paths in below.items():
        full = f"{path}.{name}" if path else name
        if set(paths) == {""}:
            leaves[name] = Write if permission is Write else paths[""]
            if all(map(is_name, parts(full))):
                namespace[name] = property(reader(full, leaves[name]))
        else:
            branches[name] = view_class(tuple(sorted(paths.items())), full, permission)  # type: ignore[arg-type]
    if is_name(path):  # which needs no way through parts
        namespace["_target"] = target_of(path)
    slots = [*filter(is_name, branches), *([] if path else ["progress"])]
    namespace |= {"_path": path, "_permission": permission, "_declared": leaves, "_branches": branches}
    return type(f"View_{path.replace('.', '_') or 'learner'}", (View,), {**namespace, "__slots__": tuple(slots)})


def is_name(part: str) -> bool:
    """Whether a part of a path can be written as an attribute in Python."""
    return part.isidentifier() and not keyword.iskeyword(part)


def reader(path: str, permission: type[Permission]) -> Any:
    """A function of a view that gets what is at a path, by plain attribute look-ups."""
    get = attrgetter(f"_learner.{path}")  # enters no Python function
    if permission is Write or path in PLAIN:
        return get

    def read(view: View) -> Any:
        value = get(view)
        return ReadOnly(value, path) if type(value) in VIEWED else value

    return read


def target_of(path: str) -> Callable[[View], Any]:
    """A method of a view that gets what the view stands for: a field of the learner."""
    get = attrgetter(f"_learner.{path}")

    def target(view: View) -> Any:
        return get(view)

    return target


def get_part(owner: Any, name: str) -> Any:
    """An attribute of an object, or an item of a mapping that has no attributes for its items."""
    if isinstance(owner, Mapping) and not isinstance(owner, (PropDict, ReadOnly)):
        return owner[name]
    return getattr(owner, name)


def set_part(owner: Any, name: str, value: Any) -> None:
    """Set an attribute of an object, or an item of a mapping."""
    if type(owner) is not PropDict and isinstance(owner, (MutableMapping, Gradients)):
        owner[name] = value
    else:
        setattr(owner, name, value)
