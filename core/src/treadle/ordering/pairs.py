"""How two callbacks combine: ordered, compatible, refused, or not resolved; with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from treadle.access import Read, Write, accesses, overlaps
from treadle.arguments import list_of
from treadle.callback import Callback
from treadle.errors import CallbackConflictError
from treadle.events import Hook
from treadle.ordering.graph import callback_graph
from treadle.ordering.handlers import handlers, known_hooks
from treadle.ordering.participants import meetings

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Pair:
    """How two callbacks combine.

    Args:
        first: The one that runs first, if they are ordered; else the one that was passed first.
        second: The other one.
        verdict: `"ordered"`; `"compatible"`: any order is right; `"refused"`: one of them, or a plugin, says that they
            must not be used together; `"unresolved"`: they conflict, and nobody says what is right.
        reason: Why.
        hooks: The events and operations at which they are ordered.
        fix: What a user, or the author of one of them, does about it; empty unless they cannot be used together.

    Example:
        >>> from treadle import StepEnd, CustomCallback
        >>> pair_of(CustomCallback(print, StepEnd), CustomCallback(print, StepEnd)).verdict
        'compatible'
    """

    first: Callback
    second: Callback
    verdict: Literal["ordered", "compatible", "refused", "unresolved"]
    reason: str
    hooks: tuple[str, ...] = ()
    fix: str = ""


def pair_of(first: Callback, second: Callback, present: Iterable[Callback] = ()) -> Pair:
    """How two callbacks combine.

    Args:
        present: Those that are there as well, since one of the two needs them; see `writers_for`.

    Raises:
        CallbackConflictError: if one of them cannot be used with those that are present, whatever the other does.

    Example:
        >>> class Keeper(Callback):
        ...     state_access = {"cbstate.kept": Write}
        ...     def on_step_end(self, learner): ...
        >>> class Announcer(Callback):
        ...     state_access = {"cbstate.kept": Read}
        ...     def on_step_end(self, learner): ...
        >>> pair = pair_of(Announcer(), Keeper())
        >>> pair.first, pair.verdict, pair.reason
        (<Keeper>, 'ordered', 'Announcer reads `cbstate.kept`, which Keeper writes')
        >>> print(pair_of(Keeper(), Keeper()).reason)
        Keeper and Keeper both write `cbstate.kept`, and nothing orders them.
    """
    try:
        graph = callback_graph([first, second, *present])
    except CallbackConflictError as error:
        between = [problem for problem in error.problems if {first, second} <= set(problem.callbacks)]
        if not between:
            raise
        verdict: Literal["refused", "unresolved"] = "refused" if between[0].refused else "unresolved"
        return Pair(first, second, verdict, between[0].what, fix=between[0].fix)
    for before, after in ((first, second), (second, first)):
        if path := path_at_a_hook(graph, before, after):
            reason = "; ".join(graph.edges[edge]["reason"] for edge in path)
            hooks = tuple(hook.hook for hook in shared_hooks(before, after) if path_at(graph, before, after, hook))
            return Pair(before, after, "ordered", reason, hooks)
    return Pair(first, second, "compatible", why_compatible(first, second))


def writers_for(callbacks: Sequence[Callback], candidates: Iterable[Callback]) -> list[Callback]:
    """Callbacks that write the entries of `cbstate` that others, and they themselves, read and none writes.

    Of several candidates that write an entry it is the one that writes the fewest.

    Args:
        callbacks: Those that are there.
        candidates: Those that may join.

    Returns:
        Those that join; what no candidate writes is left to be missing.

    Example:
        >>> class Keeper(Callback):
        ...     state_access = {"cbstate.kept": Write}
        >>> class Announcer(Callback):
        ...     state_access = {"cbstate.kept": Read, "cbstate.lost": Read}
        >>> writers_for([Announcer()], [Keeper(), Announcer()])
        [<Keeper>]
    """
    example = "writers_for([Announcer()], [Keeper()])"
    present = [*list_of(callbacks, "callbacks", Callback, example)]
    candidates = list_of(candidates, "candidates", Callback, example)
    missing: set[str] = set()
    while True:
        written = {path for callback in present for path in accesses(callback, Write)}
        needed = sorted(
            path
            for callback in present
            for path in accesses(callback, Read)
            if path.startswith("cbstate.") and path not in missing and not any(overlaps(path, w) for w in written)
        )
        if not needed:
            return present[len(callbacks) :]
        offers = [candidate for candidate in candidates if needed[0] in accesses(candidate, Write)]
        if offers:
            present.append(min(offers, key=lambda writer: sum(p.startswith("cbstate.") for p in writer.state_access)))
        else:
            missing.add(needed[0])


def path_at_a_hook(graph: nx.DiGraph, before: Callback, after: Callback) -> list[tuple[Callback, Callback]]:
    """The edges from one callback to another that hold together where the two meet, or none."""
    paths = (path_at(graph, before, after, hook) for hook in shared_hooks(before, after))
    return next(filter(None, paths), [])


def path_at(graph: nx.DiGraph, before: Callback, after: Callback, hook: type[Hook]) -> list[tuple[Callback, Callback]]:
    """The edges from one callback to another that hold at a hook, or none.

    An edge that the data flow made holds at the hooks where its ends meet, one of `run_after` everywhere.
    """
    import networkx as nx

    here = nx.DiGraph()
    here.add_nodes_from(graph)
    here.add_edges_from(
        (x, y) for x, y, data in graph.edges(data=True) if hook in data["events"] or ".run_after" in data["reason"]
    )
    return list(pairwise(nx.shortest_path(here, before, after))) if nx.has_path(here, before, after) else []


def shared_hooks(first: Callback, second: Callback) -> list[type[Hook]]:
    """The hooks that both handle in one phase, the events first."""
    groups = meetings([handlers(first), handlers(second)])
    shared = {hook for group, hooks in groups.items() if group.members == 0b11 for hook in hooks}
    position = {hook: i for i, hook in enumerate(known_hooks().values())}
    return sorted(shared, key=position.__getitem__)


def why_compatible(first: Callback, second: Callback) -> str:
    """Why any order of two callbacks is right."""
    shared = {
        max(path, other, key=len): Write in (mode, other_mode)
        for path, mode in first.state_access.items()
        for other, other_mode in second.state_access.items()
        if overlaps(path, other)
    }
    written = [path for path, write in shared.items() if write]
    listed = ", ".join(f"`{path}`" for path in written)
    if not shared:
        return "they use no state in common"
    if not written:
        return "neither writes what the other uses"
    if not shared_hooks(first, second):
        return f"they never meet at an event, though both use {listed}"
    return f"any order is right for {listed}, from `resolve_conflict`"
