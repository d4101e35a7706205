"""Who meets whom: the sets of callbacks that handle one hook in the same phase.

A set of callbacks is an integer with a bit for each position.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from treadle.events import Hook
from treadle.ordering.handlers import Handler
from treadle.phases import AbstractTrainingPhase, AbstractValidationPhase, Phase, TrainingPhase, ValidationPhase

#: For each callback its handlers, by the name of the method.
Handlers = Sequence[Mapping[str, Handler]]

#: The core's types of phase, in which callbacks can meet whether or not one of them is named.
KINDS = (Phase, AbstractTrainingPhase, TrainingPhase, AbstractValidationPhase, ValidationPhase)


def participants(handlers: Handlers, hook: type[Hook], phase: type[Phase] | None) -> int:
    """The set of callbacks that handle a hook in a type of phase."""
    name, where = hook.hook, phase if hook.phased else None
    return sum(1 << i for i, by_name in enumerate(handlers) if name in by_name and by_name[name].handles(where))


def meetings(handlers: Handlers) -> dict[int, list[type[Hook]]]:
    """The sets of callbacks that meet, each with the hooks where they do."""
    by_hook: dict[type[Hook], list[tuple[int, Handler]]] = {}
    for i, by_name in enumerate(handlers):
        for handler in by_name.values():
            by_hook.setdefault(handler.hook, []).append((i, handler))
    # Not all types of phase that exist: one that another library declares must not change this order.
    named = [phase for members in by_hook.values() for _, handler in members for phase in handler.phases]
    phases: dict[type[Phase], None] = dict.fromkeys([*KINDS, *named])
    groups: dict[int, list[type[Hook]]] = {}
    for hook, members in by_hook.items():
        restrictions = {handler.phases for _, handler in members}
        for phase in phases if hook.phased else [None]:
            matching = {kinds for kinds in restrictions if phase is None or issubclass(phase, kinds)}
            group = sum(1 << i for i, handler in members if handler.phases in matching)
            hooks = groups.setdefault(group, [])
            if hook not in hooks:
                hooks.append(hook)
    groups.pop(0, None)
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
