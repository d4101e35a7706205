"""From declarations to one order for each event and phase, or to the list of problems.

Two callbacks meet when both handle a hook in the same phase, and only where they meet can they
conflict. `run_after` is one relation over all callbacks; what they read and write adds edges between
those that meet. For each hook and phase the order is the lexicographic topological order of those
that handle it: of those that could be next, one that enters the loop comes last, and names decide the
rest. So it is a function of the callbacks and their declarations, not of the order in which they were
listed, installed or imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from treadle.access import checked
from treadle.callback import Callback
from treadle.errors import CallbackConflictError, Problem
from treadle.events import Hook
from treadle.ordering.conflicts import (
    entering_the_loop,
    lost_parts,
    missing_writers,
    passed_by,
    shared_overrides,
    shared_state,
)
from treadle.ordering.handlers import handlers, known_hooks
from treadle.ordering.observers import readers, reason
from treadle.ordering.participants import Group, bits, meetings, participants
from treadle.ordering.rules.main_process import main_process_problems
from treadle.ordering.rules.resolutions import (
    Found,
    Resolver,
    by_data_flow,
    learner_line,
    lost_part,
    refusal,
    resolutions,
    resolve,
)
from treadle.ordering.rules.rings import put_before_wrapper, read_too_early, unordered_wrappers
from treadle.ordering.rules.run_after import Edge, RunAfter
from treadle.ordering.rules.user_resolutions import Resolve, turned_round, user_resolver
from treadle.phases import Phase
from treadle.plugins.discovery import distribution_of
from treadle.plugins.modules import modules_for, resolver
from treadle.plugins.selection import as_callbacks

if TYPE_CHECKING:
    import networkx as nx


def callback_graph(callbacks: Sequence[Callback]) -> nx.DiGraph:
    """The graph of the order between callbacks, which may be listed in any order.

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
    listed, modules = as_callbacks(callbacks)
    return Ordering(listed, resolver(modules_for(listed, modules))).graph


class Ordering:
    """The order of a set of callbacks, for every event and phase.

    Args:
        callbacks: In any order.
        resolver: Asked for a pair that uses the same state, in both orders, beside the callbacks themselves.
        answer: The user's own answer for such pairs. Default: none.

    Attributes:
        callbacks: The callbacks, sorted by name.
        handlers: For each callback its handlers by the name of the method.
        graph: See `callback_graph`.

    Raises:
        CallbackConflictError: listing every problem.
    """

    def __init__(
        self,
        callbacks: Sequence[Callback],
        resolver: Resolver = lambda first, second: (),
        answer: Resolve = None,
    ) -> None:
        import networkx as nx

        # Sorted, so that nothing depends on the order of the list; among equal names that order stays.
        self.callbacks = tuple(sorted(callbacks, key=lambda callback: callback.name))
        hooks = known_hooks()
        self.handlers = [handlers(callback, hooks) for callback in self.callbacks]
        accesses = [checked(callback.state_access, callback.name) for callback in self.callbacks]
        self._resolver, self._answer, self._user = resolver, answer, user_resolver(answer, self.callbacks)
        self._index = {callback: i for i, callback in enumerate(self.callbacks)}
        self._accesses, self._shared = accesses, shared_state(accesses)
        self._lost = lost_parts(self.callbacks, accesses, self.handlers)
        self._alone = set(entering_the_loop(accesses))
        self._groups = meetings(self.handlers)
        self._found: dict[tuple[int, int], Found] = {}  # the resolutions for each pair that was asked
        self._flow: set[tuple[int, int]] = set()  # the pairs that reads and writes alone order
        self._orders: dict[Group, tuple[Callback, ...]] = {}
        self._later: dict[Callback, set[Callback]] = {}

        self.graph = nx.DiGraph()
        self.graph.add_nodes_from(self.callbacks)
        self._explicit = RunAfter(self.callbacks)
        for edge in self._explicit.edges:
            self._add(edge)
        problems = missing_writers(self.callbacks, accesses)
        problems += main_process_problems(self.callbacks, accesses, self.handlers)
        cyclic = self._cycles(self._explicit.graph, "`run_after`")
        problems += [*cyclic, *self._order_pairs()]
        refuse(problems if cyclic else problems + self._check_rings(self._groups) + self._sort(self._groups))
        position = {hook: i for i, hook in enumerate(hooks.values())}
        for before, after, data in self.graph.edges(data=True):
            pair = 1 << self._index[before] | 1 << self._index[after]
            met = {hook for group, at in self._groups.items() if group.members & pair == pair for hook in at}
            data["events"] = tuple(sorted(met, key=position.__getitem__))

    def order(self, hook: type[Hook], phase: type[Phase] | None = None) -> tuple[Callback, ...]:
        """The callbacks that handle a hook in a type of phase, in the order in which they run.

        Raises:
            CallbackConflictError: if the type of phase is newer than this ordering, brings together
                callbacks that did not meet before, and they conflict.
        """
        group = participants(self.handlers, hook, phase)
        if group not in self._orders:
            self._groups.setdefault(group, []).append(hook)
            refuse(self._order_pairs() + self._check_rings([group]) + self._sort([group]))
        return self._orders[group]

    def guests(self, phase: type[Phase]) -> list[Callback]:
        """The callbacks that take part in a type of phase, and of which no handler names it."""
        found = []
        for callback, by_name in zip(self.callbacks, self.handlers, strict=True):
            taking_part = [h for h in by_name.values() if h.hook.phased and h.handles(phase)]
            if taking_part and not any(issubclass(phase, handler.named) for handler in taking_part):
                found.append(callback)
        return found

    def passed_by(self, callback: Callback) -> dict[Callback, type[Hook]]:
        """Whose part in the gradients of an update is lost if a callback computes them anew in `update`, and where.

        Those are left out that are said to be right with it in any order.
        """
        i = self._index[callback]
        found = {}
        for j, other in enumerate(self.callbacks):
            if j != i:
                hook = passed_by(self._accesses[i], self.handlers[i], other, self._accesses[j], self.handlers[j])
                if hook is not None and lost_part(callback, other, hook, self._resolutions(min(i, j), max(i, j))):
                    found[other] = hook
        return found

    @cached_property
    def no_observers(self) -> dict[Callback, str]:
        """The callbacks whose errors end a fit in any case, with the reason; all others are observers."""
        found = {}
        for i, callback in enumerate(self.callbacks):
            why = reason(i, self.callbacks, self._accesses, self.handlers[i], self._shared)
            if why is not None:
                found[callback] = why
        return found

    def readers(self, callback: Callback) -> dict[str, list[Callback]]:
        """Who reads what an observer writes, by the path."""
        return readers(self._index[callback], self.callbacks, self._shared)

    def wraps(self, callback: Callback, hook: str) -> bool:
        """Whether a callback wraps the hook of that name, so that it stands around all that do not."""
        handler = self.handlers[self._index[callback]].get(hook)
        return handler is not None and handler.wrapper

    def independent(self, first: Callback, second: Callback) -> bool:
        """Whether two callbacks may run at the same time.

        They may if neither runs after the other, neither writes what the other uses, not even where they say that
        any order is right, and neither may enter the loop.
        """
        import networkx as nx

        i, j = sorted((self._index[first], self._index[second]))
        for callback in (first, second):
            if callback not in self._later:
                self._later[callback] = nx.descendants(self.graph, callback)
        if (i, j) in self._shared or not self._alone.isdisjoint((i, j)):
            return False
        return second not in self._later[first] and first not in self._later[second]

    def _add(self, edge: Edge) -> None:
        if not self.graph.has_edge(edge.before, edge.after):
            self.graph.add_edge(edge.before, edge.after, reason=edge.reason, events=())

    def _order_pairs(self) -> list[Problem]:
        """Order every pair that uses the same state, meets and is not ordered yet, or say why that is impossible.

        All of them are asked for a resolution: they may contradict each other from different hooks.
        """
        problems = []
        ancestors = self._explicit.ancestors
        met = [0] * len(self.callbacks)
        for group in self._groups:
            for i in bits(group.members):
                met[i] |= group.members
        overrides = shared_overrides(self._groups)
        lost = {tuple(sorted(pair)): pair for pair in self._lost}
        for i, j in dict.fromkeys((*self._shared, *overrides, *lost)):
            first, second = self.callbacks[i], self.callbacks[j]
            overlap = [*self._shared.get((i, j), ()), *overrides.get((i, j), ())]
            explicit = ancestors[i] >> j & 1 or ancestors[j] >> i & 1
            unordered = met[i] >> j & 1 and not explicit
            if not (overlap or unordered or (i, j) in lost):
                continue
            found = self._resolutions(i, j)
            if not unordered:
                resolved: list[Edge] | Problem = refusal(first, second, overlap, found) or []
                if explicit and not resolved and isinstance(self._answer, Mapping):
                    before, after = (j, i) if ancestors[i] >> j & 1 else (i, j)
                    resolved = turned_round(
                        self.callbacks[before], self.callbacks[after], self._reason(before, after), found
                    )
            elif found:
                resolved = resolve(first, second, overlap, found)
            elif not overlap:
                resolved = []
            else:
                self._flow.add((i, j))
                resolved = by_data_flow(first, second, overlap)
            if (i, j) in lost and not isinstance(resolved, Problem):
                one, other = lost[i, j]
                problem = lost_part(self.callbacks[one], self.callbacks[other], self._lost[one, other], found)
                resolved = resolved if problem is None else problem
            if isinstance(resolved, Problem):
                problems.append(resolved)
            else:
                for edge in resolved:
                    self._add(edge)
        return problems

    def _resolutions(self, i: int, j: int) -> Found:
        """The resolutions for a pair, the smaller position first."""
        if (i, j) not in self._found:
            self._found[i, j] = resolutions(self.callbacks[i], self.callbacks[j], self._resolver, self._user)
        return self._found[i, j]

    def _check_rings(self, groups: Iterable[Group]) -> list[Problem]:
        """A problem for each wrapper that would come after what is inside of it, or beside another unordered."""
        problems: dict[tuple[int, int], Problem] = {}
        ancestors = self._explicit.ancestors
        for group in groups:
            hook = self._groups[group][0]
            for i in bits(group.wrappers):
                wrapper = self.callbacks[i]
                flow = sum(1 << self._index[before] for before in self.graph.predecessors(wrapper))
                for j in bits((ancestors[i] | flow) & group.inside):
                    explain = read_too_early if self._by_flow(i, j) else put_before_wrapper
                    problems.setdefault((i, j), explain(wrapper, self.callbacks[j], self._reason(j, i), hook))
            for i, j in self._flow if group.wrappers else ():
                if group.wrappers >> i & group.wrappers >> j & 1 and self._shared.get((i, j)):
                    first, second = self.callbacks[i], self.callbacks[j]
                    if self.graph.has_edge(first, second) or self.graph.has_edge(second, first):  # else refused already
                        problem = unordered_wrappers(first, second, self._shared[i, j], hook)
                        problems.setdefault((i, j), problem)
        return list(problems.values())

    def _by_flow(self, i: int, j: int) -> bool:
        """Whether nothing orders two callbacks but what they read and write."""
        return (min(i, j), max(i, j)) in self._flow

    def _sort(self, groups: Iterable[Group]) -> list[Problem]:
        """Sort the callbacks that meet; each cycle is one problem, at however many events it is."""
        import networkx as nx

        problems: dict[frozenset[Callback], Problem] = {}
        for group in groups:
            graph = nx.DiGraph()
            graph.add_nodes_from(bits(group.members))
            for i in bits(group.members):
                graph.add_edges_from((before, i) for before in self._explicit.nearest(i, group.members))
                for successor in self.graph.successors(self.callbacks[i]):
                    j = self._index[successor]
                    if (
                        group.members >> j & 1
                        and not self._explicit.graph.has_edge(i, j)
                        and not (group.wrappers >> j & 1 and self._by_flow(i, j))  # which gives wrappers no order
                    ):
                        graph.add_edge(i, j)
            try:
                # Rings first. Who enters the loop comes last, since that calls the others: they count and cancel by
                # what they have seen, which no path tells.
                ordered = nx.lexicographical_topological_sort(
                    graph, key=lambda i: (not group.wrappers >> i & 1, i in self._alone, self.callbacks[i].name, i)
                )
                self._orders[group] = tuple(self.callbacks[i] for i in ordered)
            except nx.NetworkXUnfeasible:
                for problem in self._cycles(graph, f"The order at `{self._groups[group][0].hook}`"):
                    problems.setdefault(frozenset(problem.callbacks), problem)
        return list(problems.values())

    def _cycles(self, graph: nx.DiGraph, where: str) -> list[Problem]:
        """The cycles of a graph, each as the chain of its callbacks with each edge's reason."""
        import networkx as nx

        problems = []
        for component in sorted(nx.strongly_connected_components(graph), key=min):
            if len(component) < 2:
                continue
            edges = nx.find_cycle(graph.subgraph(component), min(component))
            start = min(range(len(edges)), key=lambda k: (self.callbacks[edges[k][0]].name, k))
            edges = edges[start:] + edges[:start]
            chain = tuple(self.callbacks[i] for i, _ in edges)
            path = " -> ".join(callback.name for callback in (*chain, chain[0]))
            reasons = "".join(
                f"\n    {self.callbacks[i].name} before {self.callbacks[j].name}: {self._reason(i, j)}"
                for i, j in edges
            )
            problems.append(Problem(chain, f"{where} has a cycle: {path}{reasons}", self._cycle_fix(edges)))
        return problems

    def _cycle_fix(self, edges: Sequence[tuple[int, int]]) -> str:
        """How a cycle is broken: by the user, who may turn round what `run_after` does not order, and by an author."""
        author = "Or, if you wrote one of them, take a name out of its run_after"
        turned = next(((i, j) for i, j in edges if not self._explicit.ancestors[j] >> i & 1), None)
        if turned is None:
            return f"leave one of them out.\n{author}."
        after, before = (self.callbacks[k] for k in turned)
        return (
            f"leave one of them out, or turn one of these reasons round, where the learner is made:\n"
            f"    {learner_line(before, after)}\n"
            f"{author}, or a path that it does not need out of its state_access."
        )

    def _reason(self, i: int, j: int) -> str:
        import networkx as nx

        data = self.graph.get_edge_data(self.callbacks[i], self.callbacks[j])
        if data is not None:
            return str(data["reason"])
        path = [self.callbacks[k] for k in nx.shortest_path(self._explicit.graph, i, j)]
        return ", ".join(str(self.graph.edges[pair]["reason"]) for pair in pairwise(path))


def refuse(problems: list[Problem]) -> None:
    """Raise one error that lists all problems, if there are any, each with where its callbacks come from."""
    if problems:
        raise CallbackConflictError(sorted((replace(p, origin=origin(p.callbacks)) for p in problems), key=str))


def origin(callbacks: Sequence[Callback]) -> str:
    """Which distributions callbacks come from, as a line of a message; empty if none of them is a plugin's."""
    sources = {callback.name: distribution_of(callback) for callback in callbacks}
    if not any(sources.values()):
        return ""
    listed = ", ".join(f"{name} ({source or 'not a plugin'})" for name, source in sources.items())
    return f"Where they come from: {listed}"
