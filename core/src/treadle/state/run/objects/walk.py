"""The walk over what objects hold: the only search for random generators, counters, and what a trial may change."""

from __future__ import annotations

import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch

from treadle.state.run.objects.attributes import attributes_of, by_class, cell_content
from treadle.state.run.objects.kinds import CONTAINERS, ENDS, generators, is_generator, kind_of, user_classes

#: Of more values of one type than this in one container, only the first and the last of them are looked into, unless
#: they are random generators or modules.
LARGEST = 1_000

#: How many of those on either side.
SAMPLE = 20

#: After so many objects of one root a walk that is limited ends, with a warning.
MOST = 300_000

#: Of these, one without items holds nothing.
PASSED_OVER_EMPTY = (*CONTAINERS, OrderedDict, defaultdict)


#: How an object is reached from the one before it: the end of its path, or its key in a container, in a tuple.
Label = str | tuple[Any]


class Node(NamedTuple):
    """An object, and how the walk came there."""

    value: Any
    parent: Node | None
    label: Label

    @property
    def path(self) -> str:
        """Its path from the root: `data.training.dataset.transforms[0].rng`."""
        labels = []
        node: Node | None = self
        while node is not None:
            labels.append(node.label if isinstance(node.label, str) else f"[{node.label[0]!r:.60}]")
            node = node.parent
        return "".join(reversed(labels))


def walk(
    roots: Mapping[str, Any],
    *,
    largest: int | None = LARGEST,
    ends: Callable[[Any], bool] | None = None,
    stop: tuple[type, ...] = (),
    classes: bool = True,
    seen: dict[int, Any] | None = None,
) -> Iterator[Node]:
    """All objects that are reachable from the roots, each once: root after root, and of each first what is nearer.

    It goes through containers, the attributes and slots of objects, the attributes of their classes, partial functions,
    bound methods and closures. It does not go into numbers, texts, tensors, arrays, classes, modules of code, and
    the machinery of the standard library and of this package.

    Args:
        roots: Objects by name.
        largest: See `LARGEST`; None to look into everything.
        ends: Whether an object that is not gone into is yielded; see `kinds.ENDS`. Default: all are.
        stop: Types whose objects are not gone into. Default: none.
        classes: Whether to go into what users' classes hold. Default: yes.
        seen: Objects by their ids that are passed over; those that are reached join them. Default: none.

    Example:
        >>> import random
        >>> from functools import partial
        >>> transforms = [partial(print, random.Random(0))]
        >>> [node.path for node in walk({"transforms": transforms}) if is_generator(node.value)]
        ['transforms[0].args[0]']
    """
    seen = {} if seen is None else seen  # holds the objects as well, so that no id is used twice

    def passed_over(value: Any) -> bool:
        kind = kind_of(type(value))
        return kind == "plain" or (kind in ENDS and ends is not None and not ends(value))

    def holds_nothing(value: Any) -> bool:
        if type(value) in PASSED_OVER_EMPTY and not value:
            return True
        return ends is not None and is_row(value) and all(map(passed_over, value))

    for name, root in roots.items():
        waiting = deque(() if passed_over(root) else [Node(root, None, name)])
        last = len(seen) + MOST
        while waiting:
            node = waiting.popleft()
            if id(node.value) in seen:
                continue
            seen[id(node.value)] = node.value
            yield node
            if largest is not None and len(seen) > last:
                _warn_of_limit(name)
                break
            if kind_of(type(node.value)) in ENDS or isinstance(node.value, stop):
                continue
            for label, part in parts_of(node.value, largest, seen if classes else None):
                if id(part) not in seen and not passed_over(part) and (largest is None or not holds_nothing(part)):
                    waiting.append(Node(part, node, label))


def is_row(value: Any) -> bool:
    """Whether it is a list or a tuple of what the walk ends at, as a batch is one of tensors; there may be many."""
    if type(value) not in (list, tuple) or len(value) > LARGEST:
        return False
    kinds = set(map(kind_of, set(map(type, value))))
    return kinds <= {"plain", *ENDS} and not kinds.isdisjoint(ENDS)


def parts_of(value: Any, largest: int | None, seen: dict[int, Any] | None) -> Iterable[tuple[Label, Any]]:
    """What an object that is entered holds, with how it is reached from there.

    Args:
        seen: Classes by their ids that are passed over, which others join; None for no classes at all.
    """
    if type(value) in CONTAINERS:
        return items_of(value, largest)
    held = held_by_object(value, seen)
    return held if kind_of(type(value)) != "container" else chain(items_of(value, largest), held)


def held_by_object(value: Any, seen: dict[int, Any] | None) -> Iterator[tuple[Label, Any]]:
    """What an object holds in its attributes and its class, in a closure, or outside of Python."""
    if isinstance(value, types.FunctionType):
        yield from held_by_function(value)
    if isinstance(value, types.CellType):
        yield from (("", part) for part in cell_content(value))
    if isinstance(value, torch.jit.ScriptModule):  # which keeps them outside of Python
        yield from ((f".{name}", part) for name, part in value.named_parameters(recurse=False))
        yield from ((f".{name}", part) for name, part in value.named_buffers(recurse=False))
    for name, part in attributes_of(value):
        yield f".{name}", part
    if seen is None:
        return
    for base in user_classes(type(value)):
        if id(base) not in seen:
            seen[id(base)] = base
            yield from held_by_class(base)


def items_of(container: Any, largest: int | None) -> list[tuple[Label, Any]]:
    """What a container holds, apart from plain values."""
    is_dict = isinstance(container, (dict, types.MappingProxyType))
    keys = list(container) if is_dict else ()
    values = list(container.values() if is_dict else container)
    found: list[tuple[Label, Any]] = []
    if any(kind_of(kind) != "plain" for kind in set(map(type, keys))):
        found = [("{key}", key) for key in keys if kind_of(type(key)) != "plain"]
    kinds = {kind for kind in set(map(type, values)) if kind_of(kind) != "plain"}
    if not kinds:
        return found
    places: Sequence[int] = range(len(values))
    if largest is not None and len(values) > largest:
        counts = Counter(map(type, values))
        crowded = {kind for kind in kinds if counts[kind] > largest and not issubclass(kind, always_taken())}
        others = kinds - crowded
        inside = [i for i in places[SAMPLE:-SAMPLE] if type(values[i]) in others] if others else []
        places = [*places[:SAMPLE], *inside, *places[-SAMPLE:]]
    unordered = isinstance(container, (set, frozenset))
    labels: Sequence[Any] = keys if is_dict else range(len(values))
    taken = [i for i in places if type(values[i]) in kinds]
    return found + [("{item}" if unordered else (labels[i],), values[i]) for i in taken]


def held_by_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function holds: its closure, its defaults, and the random generators that it knows by a global name."""
    if function.__closure__:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True):
            yield f".{name}", cell
    if function.__defaults__:
        yield ".defaults", function.__defaults__
    if function.__kwdefaults__:
        yield ".kwdefaults", function.__kwdefaults__
    known = function.__globals__
    for name in [name for name in names_in(function.__code__) if name in known]:
        if is_generator(known[name]):
            yield f".{name}", known[name]


def held_by_class(cls: type) -> Iterator[tuple[str, Any]]:
    """What a class of a user's holds: its attributes, and what its methods hold."""
    for name, value in list(vars(cls).items()):
        function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        if isinstance(function, types.FunctionType):
            yield from ((f".{name}{label}", part) for label, part in held_by_function(function))
        elif not name.startswith("__") and name != "_abc_impl":
            yield f".{name}", value


@by_class
def names_in(code: types.CodeType) -> tuple[str, ...]:
    """The global names that a function uses, also in the functions inside of it."""
    inner = [name for part in code.co_consts if isinstance(part, types.CodeType) for name in names_in(part)]
    return tuple(dict.fromkeys([*code.co_names, *inner]))


def always_taken() -> tuple[type, ...]:
    """What is looked into however many there are."""
    return (*generators(), torch.nn.Module)


def _warn_of_limit(name: str) -> None:
    from loguru import logger  # needed rarely, and loaded then

    logger.warning(
        f"More than {MOST:,} objects belong to {name}, and random generators are looked for in the nearest only.\n"
        f"Fix: keep each generator as an attribute of the loader, its sampler or its data set."
    )
