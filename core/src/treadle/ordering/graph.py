"""From declarations to one order for each event and phase, or to the list of problems. No torch.

Two callbacks meet when both handle a hook in the same phase, and only where they meet can they
clash. `run_after` is one relation over all callbacks; what they read and write adds edges between
those that meet. For each hook and phase the order is the lexicographic topological order of those
who handle it, with ties broken by name: a function of the callbacks and their declarations, not of
the order in which they were given, installed or imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from treadle.access import checked
from treadle.callback import Callback, unwrap
from treadle.errors import AccessError, CallbackConflictError, Problem
from treadle.events import Hook
from treadle.ordering.conflicts import Edge, Overlap, Resolver, settle, shared_answers, shared_state, unwritten_reads
from treadle.ordering.handlers import handlers, known_hooks
from treadle.ordering.participants import bits, meetings, members
from treadle.phases import Phase
from treadle.plugins.discovery import names_of
from treadle.plugins.modules import modules_for, resolver
from treadle.plugins.providers import providers
from treadle.plugins.selection import as_callbacks

if TYPE_CHECKING:
    import networkx as nx


def callback_graph(callbacks: Sequence[Callback]) -> nx.DiGraph:
    """The graph of the order between callbacks.

    Args:
        callbacks: The callbacks, in any order.

    Returns:
        A directed graph whose nodes are the callbacks. An edge from one to another means that the
        first runs before the second; its `reason` is a sentence, its `events` are the events and
        operations at which both meet.

    Raises:
        CallbackConflictError: listing every reason why there is no order.

    Example:
        >>> from treadle import Read, StepEnd, Write
        >>> class Writer(Callback):
        ...     state_access = {"cbstate.seen": Write}
        ...     def on_step_end(self, learner): ...
        >>> class Reader(Callback):
        ...     state_access = {"cbstate.seen": Read}
        ...     def on_step_end(self, learner): ...
        >>> reader, writer = Reader(), Writer()
        >>> graph = callback_graph([reader, writer])
        >>> graph.edges[writer, reader]["reason"]
        'Reader reads `cbstate.seen`, which Writer writes'
        >>> graph.edges[writer, reader]["events"] == (StepEnd,)
        True
    """
    given, modules = as_callbacks(callbacks)
    return Ordering(given, resolver(modules_for(given, modules))).graph


class Ordering:
    """The order of a set of callbacks, for every event and phase.

    Args:
        callbacks: The callbacks, in any order.
        resolve: Asked for a pair that clashes, in both orders, beside the callbacks themselves.

    Attributes:
        callbacks: The callbacks, sorted by name.
        handlers: For each callback its handlers by the name of the method.
        graph: See `callback_graph`.

    Raises:
        CallbackConflictError: listing every problem.
    """

    def __init__(self, callbacks: Sequence[Callback], resolve: Resolver = lambda first, second: ()) -> None:
        import networkx as nx

        # Sorted, so that nothing depends on the order given; among equal names that order stays.
        self.callbacks = tuple(sorted(callbacks, key=lambda callback: callback.name))
        hooks = known_hooks()
        self.handlers = [handlers(callback, hooks) for callback in self.callbacks]
        accesses = [checked(callback.state_access, callback.name) for callback in self.callbacks]
        self._resolve = resolve
        self._index = {callback: i for i, callback in enumerate(self.callbacks)}
        self._shared = shared_state(accesses)
        self._groups = meetings(self.handlers)
        self._orders: dict[int, tuple[Callback, ...]] = {}
        self._after: dict[Callback, set[Callback]] = {}
        self._problems: list[Problem] = []

        self.graph = nx.DiGraph()
        self.graph.add_nodes_from(self.callbacks)
        self._explicit = self._run_after()
        for reader, path in unwritten_reads(accesses):
            self._problems.append(unwritten(self.callbacks[reader], path))
        circular = not nx.is_directed_acyclic_graph(self._explicit)
        if circular:
            self._circles(self._explicit, "`run_after` goes in a circle")
        self._flow()
        for group in () if circular else self._groups:
            self._order(group)
        self._refuse()
        self._name_events()

    def order(self, hook: type[Hook], phase: type[Phase] | None = None) -> tuple[Callback, ...]:
        """The callbacks that take part in a hook in a type of phase, in the order in which they run.

        Raises:
            CallbackConflictError: if the type of phase is newer than this ordering, brings together
                callbacks that did not meet before, and they clash.
        """
        group = members(self.handlers, hook, phase)
        if group not in self._orders:
            self._groups.setdefault(group, []).append(hook)
            self._flow()
            self._order(group)
            self._refuse()
        return self._orders[group]

    def independent(self, first: Callback, second: Callback) -> bool:
        """Whether two callbacks may run at the same time.

        They may if neither waits for the other, and neither writes what the other uses, not even
        where they say that any order is right.
        """
        import networkx as nx

        i, j = sorted((self._index[first], self._index[second]))
        for callback in (first, second):
            if callback not in self._after:
                self._after[callback] = nx.descendants(self.graph, callback)
        return (i, j) not in self._shared and second not in self._after[first] and first not in self._after[second]

    # The explicit order.

    def _run_after(self) -> nx.DiGraph:
        """The relation `run_after`, over all callbacks, as a graph of their positions."""
        import networkx as nx

        explicit = nx.DiGraph()
        explicit.add_nodes_from(range(len(self.callbacks)))
        named: dict[str, list[int]] = {}
        if any(callback.run_after for callback in self.callbacks):
            for i, callback in enumerate(self.callbacks):
                for name in names_of(callback):
                    named.setdefault(name, []).append(i)
        for after, callback in enumerate(self.callbacks):
            for entry in entries(callback):
                if isinstance(entry, str):
                    said, earlier = entry, named.get(entry, [])
                else:
                    said = entry.__name__
                    earlier = [i for i, other in enumerate(self.callbacks) if isinstance(unwrap(other), entry)]
                for before in earlier:
                    if before != after:
                        explicit.add_edge(before, after)
                        self._add(Edge(self.callbacks[before], callback, f"{callback.name}.run_after names {said}"))
        return explicit

    def _ancestors(self) -> list[int]:
        """For each callback the set of those that `run_after` puts before it."""
        import networkx as nx

        ancestors = [0] * len(self.callbacks)
        try:
            for i in nx.topological_sort(self._explicit):
                for before in self._explicit.predecessors(i):
                    ancestors[i] |= ancestors[before] | 1 << before
        except nx.NetworkXUnfeasible:  # a circle, noted already
            ancestors = [sum(1 << k for k in nx.ancestors(self._explicit, i)) for i in range(len(ancestors))]
        return ancestors

    # The order that the data flow makes.

    def _flow(self) -> None:
        """Settle every pair that meets, uses the same state and is not ordered yet."""
        ancestors = self._ancestors()
        met = [0] * len(self.callbacks)
        for group in self._groups:
            for i in bits(group):
                met[i] |= group
        answers = shared_answers(self.handlers, self._groups)
        alone: dict[tuple[int, int], list[Overlap]] = {pair: [] for pair in answers if pair not in self._shared}
        for (i, j), used in (*self._shared.items(), *alone.items()):
            overlap = [*used, *answers.get((i, j), ())]
            first, second = self.callbacks[i], self.callbacks[j]
            ordered = ancestors[i] >> j & 1 or ancestors[j] >> i & 1
            known = self.graph.has_edge(first, second) or self.graph.has_edge(second, first)
            if met[i] >> j & 1 and not ordered and not known:
                settled = settle(first, second, overlap, self._resolve)
                if isinstance(settled, Problem):
                    self._problems.append(settled)
                else:
                    for edge in settled:
                        self._add(edge)

    def _add(self, edge: Edge) -> None:
        if not self.graph.has_edge(edge.before, edge.after):
            self.graph.add_edge(edge.before, edge.after, reason=edge.reason, events=())

    def _name_events(self) -> None:
        position = {hook: i for i, hook in enumerate(known_hooks().values())}
        for before, after, data in self.graph.edges(data=True):
            pair = 1 << self._index[before] | 1 << self._index[after]
            met = {hook for group, hooks in self._groups.items() if group & pair == pair for hook in hooks}
            data["events"] = tuple(sorted(met, key=position.__getitem__))

    # The order of those that meet.

    def _order(self, group: int) -> None:
        """Sort a set of callbacks that meet, or note the circle they are in."""
        import networkx as nx

        if group in self._orders:
            return
        graph = nx.DiGraph()
        graph.add_nodes_from(bits(group))
        for i in bits(group):
            graph.add_edges_from((before, i) for before in self._before(i, group))
            for successor in self.graph.successors(self.callbacks[i]):
                j = self._index[successor]
                if group >> j & 1 and not self._explicit.has_edge(i, j):
                    graph.add_edge(i, j)
        try:
            ordered = nx.lexicographical_topological_sort(graph, key=lambda i: (self.callbacks[i].name, i))
            self._orders[group] = tuple(self.callbacks[i] for i in ordered)
        except nx.NetworkXUnfeasible:
            self._circles(graph, f"The order at `{self._groups[group][0].hook}` goes in a circle")

    def _before(self, i: int, group: int) -> set[int]:
        """The members of a set that `run_after` puts before one of them, with none of them in between."""
        found, seen, waiting = set(), {i}, [i]
        while waiting:
            for before in self._explicit.predecessors(waiting.pop()):
                if before not in seen:
                    seen.add(before)
                    if group >> before & 1:
                        found.add(before)
                    else:
                        waiting.append(before)
        return found

    # What is wrong.

    def _circles(self, graph: nx.DiGraph, what: str) -> None:
        """Note each circle of a graph, as the chain of its callbacks with each edge's reason."""
        import networkx as nx

        for component in sorted(nx.strongly_connected_components(graph), key=min):
            if len(component) < 2:
                continue
            edges = nx.find_cycle(graph.subgraph(component), min(component))
            start = min(range(len(edges)), key=lambda k: (self.callbacks[edges[k][0]].name, k))
            edges = edges[start:] + edges[:start]
            chain = tuple(self.callbacks[i] for i, _ in edges)
            told = "; then ".join(
                f"{self.callbacks[i].name} before {self.callbacks[j].name} ({self._reason(i, j)})" for i, j in edges
            )
            if not any(set(chain) == set(problem.callbacks) for problem in self._problems):
                mend = "a name out of run_after, or a path out of state_access that the callback does not need."
                self._problems.append(Problem(chain, f"{what}: {told}.", f"take one of these reasons away: {mend}"))

    def _reason(self, i: int, j: int) -> str:
        import networkx as nx

        data = self.graph.get_edge_data(self.callbacks[i], self.callbacks[j])
        if data is not None:
            return str(data["reason"])
        path = [self.callbacks[k] for k in nx.shortest_path(self._explicit, i, j)]
        return ", ".join(str(self.graph.edges[pair]["reason"]) for pair in pairwise(path))

    def _refuse(self) -> None:
        if self._problems:
            problems, self._problems = self._problems, []
            raise CallbackConflictError(sorted(problems, key=str))


def entries(callback: Callback) -> Iterator[type[Callback] | str]:
    """What a callback declares in `run_after`, checked."""
    declared: Any = callback.run_after
    if isinstance(declared, (str, type)) or not isinstance(declared, Iterable):
        said = declared.__name__ if isinstance(declared, type) else repr(declared)
        tuple_of = f"({said},)" if declared is not None else "()"
        raise AccessError(f"{callback.name}.run_after is {said}; it is a tuple: run_after = {tuple_of}")
    for entry in declared:
        if not (isinstance(entry, str) or (isinstance(entry, type) and issubclass(entry, Callback))):
            raise AccessError(
                f"{callback.name}.run_after has {entry!r}. It lists callback classes, or the names of "
                f'entry points or classes: run_after = (Recorder, "metrics")'
            )
        yield entry


def unwritten(reader: Callback, path: str) -> Problem:
    """The problem of a callback that reads an entry of `cbstate` that nobody writes."""
    offers = [
        f"{plugin.value.partition(':')[2]} (of {plugin.distribution}, `{plugin.name}`)" for plugin in providers(path)
    ]
    mend = (
        f"add {' or '.join(offers)} to the learner's callbacks."
        if offers
        else "add a callback that writes it; no installed plugin says that it does. Its class declares "
        f'"{path}": Write.'
    )
    return Problem((reader,), f"{reader.name} reads `{path}`, and no callback writes it.", mend)
