"""The order that callbacks ask for: what `run_after` declares, as edges and as a relation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from treadle.callback import Callback, unwrap
from treadle.errors import AccessError
from treadle.plugins.discovery import names_of

if TYPE_CHECKING:
    import networkx as nx


class Edge(NamedTuple):
    """One callback runs before another, for a reason."""

    before: Callback
    after: Callback
    reason: str


class RunAfter:
    """The relation `run_after` between callbacks.

    Args:
        callbacks: The callbacks, each of which stands for its position.

    Attributes:
        edges: See `explicit_edges`.
        graph: The same edges between positions.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        import networkx as nx

        index = {callback: i for i, callback in enumerate(callbacks)}
        self.edges = explicit_edges(callbacks)
        self.graph: nx.DiGraph = nx.DiGraph()
        self.graph.add_nodes_from(range(len(callbacks)))
        self.graph.add_edges_from((index[edge.before], index[edge.after]) for edge in self.edges)

    @cached_property
    def ancestors(self) -> list[int]:
        """For each callback the set of those that come before it, directly or not."""
        import networkx as nx

        ancestors = [0] * len(self.graph)
        try:
            for i in nx.topological_sort(self.graph):
                for before in self.graph.predecessors(i):
                    ancestors[i] |= ancestors[before] | 1 << before
        except nx.NetworkXUnfeasible:  # a cycle, which is a problem already
            ancestors = [sum(1 << k for k in nx.ancestors(self.graph, i)) for i in range(len(ancestors))]
        return ancestors

    def nearest(self, i: int, group: int) -> set[int]:
        """The members of a set that come before one of them, with none of them in between."""
        found, seen, waiting = set(), {i}, [i]
        while waiting:
            for before in self.graph.predecessors(waiting.pop()):
                if before not in seen:
                    seen.add(before)
                    if group >> before & 1:
                        found.add(before)
                    else:
                        waiting.append(before)
        return found


def explicit_edges(callbacks: Sequence[Callback]) -> list[Edge]:
    """The edges that `run_after` makes between callbacks; a name that none of them has makes no edge.

    Raises:
        AccessError: for a `run_after` that is not a collection of classes and names.

    Example:
        >>> class Early(Callback): ...
        >>> class Late(Callback):
        ...     run_after = (Early, "recorder")
        >>> [edge.reason for edge in explicit_edges([Late(), Early()])]
        ['Late.run_after names Early']
    """
    named: dict[str, list[Callback]] = {}
    if any(callback.run_after for callback in callbacks):
        for callback in callbacks:
            for name in names_of(callback):
                named.setdefault(name, []).append(callback)
    edges = []
    for callback in callbacks:
        for entry in entries(callback):
            if isinstance(entry, str):
                name, earlier = entry, named.get(entry, [])
            else:
                name, earlier = entry.__name__, [other for other in callbacks if isinstance(unwrap(other), entry)]
            reason = f"{callback.name}.run_after names {name}"
            edges += [Edge(before, callback, reason) for before in earlier if before is not callback]
    return edges


def entries(callback: Callback) -> Iterator[type[Callback] | str]:
    """What a callback declares in `run_after`, checked."""
    declared: Any = callback.run_after
    if isinstance(declared, (str, type)) or not isinstance(declared, Iterable):
        value = declared.__name__ if isinstance(declared, type) else repr(declared)
        raise AccessError(
            f"{callback.name}.run_after is {value}, not a tuple.\n"
            f"Fix: write a tuple:\n    run_after = {'()' if declared is None else f'({value},)'}"
        )
    for entry in declared:
        if not (isinstance(entry, str) or (isinstance(entry, type) and issubclass(entry, Callback))):
            raise AccessError(
                f"{callback.name}.run_after has {entry!r}, which is not a class of callbacks or a name.\n"
                f"Fix: list callback classes, or the names of entry points or classes:\n"
                f'    run_after = (Recorder, "metrics")'
            )
        yield entry
