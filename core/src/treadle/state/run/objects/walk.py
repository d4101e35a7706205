"""The walk over what objects hold: the only search for random generators, counters, and what a trial may change."""

from __future__ import annotations

import types
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
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
PASSED_OVER_EMPTY = frozenset({*CONTAINERS, OrderedDict, defaultdict})

#: A batch is a list or a tuple of what the walk ends at, and a module's parameters are a dictionary of it. There may be
#: many of them, so these are looked through without going into them.
ROWS = frozenset({list, tuple, dict})

#: The kinds of what they hold.
PASSED_OVER = ENDS | {"plain"}

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
    kinds: Set[str] = ENDS,
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
        kinds: Which kinds of objects are yielded of those that are not gone into. Default: all, see `kinds.ENDS`.
        ends: Whether one of them is yielded, which plain values never are. Default: all are.
        stop: Types whose objects are not gone into. Default: none.
        classes: Whether to go into what users' classes hold. Default: yes.
        seen: Objects by their ids that are passed over; those that are reached join them. Default: none.

    Example:
        >>> import random
        >>> from functools import partial
        >>> transforms = [partial(print, random.Random(0))]
        >>> [node.path for node in walk({"transforms": transforms}, kinds={"generator"}) if is_generator(node.value)]
        ['transforms[0].args[0]']
    """
    seen = {} if seen is None else seen  # holds the objects as well, so that no id is used twice

    skipped = {"plain", *(ENDS - kinds)}

    def passed_over(value: Any) -> bool:
        kind = kind_of(type(value))
        return kind in skipped or (ends is not None and kind in ENDS and not ends(value))

    def holds_nothing(value: Any) -> bool:
        kind = type(value)
        if kind in PASSED_OVER_EMPTY and not value:
            return True
        if kind not in ROWS or len(value) > LARGEST:
            return False
        found, inside = kinds_in(frozenset(map(type, value))), value
        if kind is dict:  # whose plain values are known by their names
            if found != {"plain"}:
                return False
            inside = value.values()
            found = kinds_in(frozenset(map(type, inside)))
        if ends is None:
            return kinds != ENDS and found <= skipped
        return (
            not found.isdisjoint(ENDS)
            and found <= (ENDS if kind is dict else PASSED_OVER)
            and not any(map(ends, inside))
        )

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


@lru_cache(maxsize=4096)
def kinds_in(types_in: frozenset[type]) -> frozenset[str]:
    """The kinds of objects of these types."""
    return frozenset(map(kind_of, types_in))


def parts_of(value: Any, largest: int | None, seen: dict[int, Any] | None) -> Iterable[tuple[Label, Any]]:
    """What an object that is entered holds, apart from plain values, with how it is reached from there.

    Args:
        seen: Classes by their ids that are passed over, which others join; None for no classes at all.
    """
    if type(value) in CONTAINERS:
        return items_of(value, largest)
    held = held_by_object(value, largest, seen)
    return held if kind_of(type(value)) != "container" else [*items_of(value, largest), *held]


def held_by_object(value: Any, largest: int | None, seen: dict[int, Any] | None) -> list[tuple[Label, Any]]:
    """What an object holds in its attributes and its class, in a closure, or outside of Python."""
    held: list[tuple[Label, Any]] = []
    if isinstance(value, types.FunctionType):
        held += held_by_function(value)
    if isinstance(value, types.CellType):
        held += (("", part) for part in cell_content(value))
    if isinstance(value, torch.jit.ScriptModule):  # which keeps them outside of Python
        held += ((f".{name}", part) for name, part in value.named_parameters(recurse=False))
        held += ((f".{name}", part) for name, part in value.named_buffers(recurse=False))
    attributes = attributes_of(value)
    for i, may_be_empty in not_plain(tuple([type(part) for _, part in attributes])):
        name, part = attributes[i]
        if largest is None or not may_be_empty or part:  # of modules, of which there are many, most are
            held.append((f".{name}", part))
    if seen is not None:
        for base in user_classes(type(value)):
            if id(base) not in seen:
                seen[id(base)] = base
                held += held_by_class(base)
    return held


@lru_cache(maxsize=4096)
def not_plain(types_in: tuple[type, ...]) -> tuple[tuple[int, bool], ...]:
    """Where in a row of objects of these types are those that are not plain; with each, whether it may be empty."""
    return tuple((i, kind in PASSED_OVER_EMPTY) for i, kind in enumerate(types_in) if kind_of(kind) != "plain")


def items_of(container: Any, largest: int | None) -> list[tuple[Label, Any]]:
    """What a container holds, apart from plain values."""
    is_dict = isinstance(container, (dict, types.MappingProxyType))
    keys = list(container) if is_dict else ()
    values = list(container.values() if is_dict else container)
    found: list[tuple[Label, Any]] = []
    if any(kind_of(kind) != "plain" for kind in set(map(type, keys))):
        found = [("{key}", key) for key in keys if kind_of(type(key)) != "plain"]
    types_in = set(map(type, values))
    kinds = {kind for kind in types_in if kind_of(kind) != "plain"}
    if not kinds:
        return found
    places: Sequence[int] = range(len(values))
    if largest is not None and len(values) > largest:
        counts = Counter(map(type, values)) if len(types_in) > 1 else dict.fromkeys(types_in, len(values))
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
