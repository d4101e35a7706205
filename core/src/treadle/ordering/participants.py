"""Who meets whom: the groups of callbacks that handle one hook in the same phase.

A set of callbacks is an integer with a bit for each position.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from treadle.events import Hook
from treadle.ordering.handlers import Handler
from treadle.phases import (
    AbstractTrainingPhase,
    AbstractValidationPhase,
    EvaluationPhase,
    Phase,
    PredictionPhase,
    TrainingPhase,
    ValidationPhase,
)

#: For each callback its handlers, by the name of the method.
Handlers = Sequence[Mapping[str, Handler]]

#: The core's types of phase, in which callbacks can meet whether or not one of them is named.
KINDS = (
    Phase,
    AbstractTrainingPhase,
    TrainingPhase,
    AbstractValidationPhase,
    ValidationPhase,
    EvaluationPhase,
    PredictionPhase,
)


class Group(NamedTuple):
    """The callbacks that meet at a hook, as sets.

    Attributes:
        members: All of them.
        wrappers: Those that wrap it: rings around all others.
    """

    members: int
    wrappers: int = 0

    @property
    def inside(self) -> int:
        """Those that do not wrap the hook."""
        return self.members & ~self.wrappers


def participants(handlers: Handlers, hook: type[Hook], phase: type[Phase] | None) -> Group:
    """The callbacks that handle a hook in a type of phase."""
    name, where = hook.hook, phase if hook.phased else None
    return group_of(
        (i, by_name[name]) for i, by_name in enumerate(handlers) if name in by_name and by_name[name].handles(where)
    )


def group_of(members: Iterable[tuple[int, Handler]]) -> Group:
    """The group of some positions, with the handlers that they have there."""
    listed = list(members)
    return Group(sum(1 << i for i, _ in listed), sum(1 << i for i, handler in listed if handler.wrapper))


def meetings(handlers: Handlers) -> dict[Group, list[type[Hook]]]:
    """The groups of callbacks that meet, each with the hooks where they do."""
    by_hook: dict[type[Hook], list[tuple[int, Handler]]] = {}
    for i, by_name in enumerate(handlers):
        for handler in by_name.values():
            by_hook.setdefault(handler.hook, []).append((i, handler))
    # Not all types of phase that exist: one that another library declares must not change this order.
    named = [phase for members in by_hook.values() for _, handler in members for phase in handler.phases]
    phases: dict[type[Phase], None] = dict.fromkeys([*KINDS, *named])
    groups: dict[Group, list[type[Hook]]] = {}
    for hook, members in by_hook.items():
        kinds = {(handler.phases, handler.computes): handler for _, handler in members}
        seen: set[frozenset[Any]] = set()
        for phase in phases if hook.phased else [None]:
            matching = frozenset(kind for kind, handler in kinds.items() if handler.handles(phase))
            if matching in seen:
                continue
            seen.add(matching)
            group = group_of(member for member in members if (member[1].phases, member[1].computes) in matching)
            hooks = groups.setdefault(group, [])
            if hook not in hooks:
                hooks.append(hook)
    groups.pop(Group(0), None)
    return groups


def bits(group: int) -> Iterator[int]:
    """The positions of an integer's ones.

    Example:
        >>> list(bits(0b1101))
        [0, 2, 3]
    """
    while group:
        lowest = group & -group
        yield lowest.bit_length() - 1
        group ^= lowest
