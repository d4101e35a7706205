"""From declarations to one order for each event and phase, or to the list of problems. No torch.

Two callbacks meet when both handle a hook in the same phase, and only where they meet can they
clash. `run_after` is one relation over all callbacks; what they read and write adds edges between
those that meet. For each hook and phase the order is the lexicographic topological order of those
who handle it, with ties broken by name: a function of the callbacks and their declarations, not of
the order in which they were given, installed or imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

from treadle import plugins
from treadle.access import Permission, Read, Write, checked, parts
from treadle.callback import Callback, ConflictResolution, NotDefined, RunFirst, Unresolvable, unwrap
from treadle.errors import AccessError, CallbackConflictError, Problem
from treadle.events import Hook, subclasses
from treadle.handlers import Handler, handlers, known_hooks
from treadle.lazy import lazily
from treadle.phases import Phase
from treadle.providers import providers

if TYPE_CHECKING:
    import networkx as nx
else:
    nx = lazily("networkx")  # takes a tenth of a second, and is not needed before there is a learner

Resolver = Callable[[Callback, Callback], Iterable[ConflictResolution | None]]

#: Two paths that overlap, the first callback's and the second's, with the permissions declared.
Overlap = tuple[str, type[Permission], str, type[Permission]]


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
        >>> from treadle import StepEnd
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

    Source: FluxTraining.jl, `callbackgraph`.
    """
    asked = plugins.manager(plugins.modules_for(callbacks)).hook.resolve_conflict
    return Ordering(callbacks, lambda first, second: asked(first=first, second=second)).graph


class Ordering:
    """The order of a set of callbacks, for every event and phase.

    Args:
        callbacks: The callbacks, in any order.
        resolve: Asked for a pair that clashes, in both orders, beside the callbacks themselves.

    Attributes:
        callbacks: The callbacks, as given.
        handlers: For each callback its handlers by the name of the method.
        graph: See `callback_graph`.

    Raises:
        CallbackConflictError: listing every problem.
    """

    def __init__(self, callbacks: Sequence[Callback], resolve: Resolver = lambda first, second: ()) -> None:
        self.callbacks = tuple(callbacks)
        self._resolve = resolve
        self._index = {callback: i for i, callback in enumerate(self.callbacks)}
        hooks = known_hooks()
        self.handlers = [handlers(callback, hooks) for callback in self.callbacks]
        self._access = [checked(callback.state_access, callback.name) for callback in self.callbacks]
        self._problems: list[Problem] = []
        self._orders: dict[int, tuple[Callback, ...]] = {}
        self._after: dict[Callback, set[Callback]] = {}

        self.graph = nx.DiGraph()
        self.graph.add_nodes_from(self.callbacks)
        self._groups = self._meetings()
        self._explicit = self._run_after()
        self._shared = self._overlaps()
        self._check_readers()
        if (ancestors := self._ancestors()) is not None:
            self._flow(ancestors)
            for members in self._groups:
                self._order(members)
        self._refuse()
        self._name_events()

    def order(self, hook: type[Hook], phase: type[Phase] | None = None) -> tuple[Callback, ...]:
        """The callbacks that take part in a hook in a type of phase, in the order in which they run.

        Raises:
            CallbackConflictError: if the type of phase is newer than this ordering, brings together
                callbacks that did not meet before, and they clash.
        """
        members = self._members(hook, phase)
        if members not in self._orders:
            if members.bit_count() > 1:
                self._groups.setdefault(members, []).append(hook)
                if (ancestors := self._ancestors()) is not None:
                    self._flow(ancestors)
            self._order(members)
            self._refuse()
        return self._orders[members]

    def independent(self, first: Callback, second: Callback) -> bool:
        """Whether two callbacks may run at the same time.

        They may if neither waits for the other, and neither writes what the other uses, not even
        where they say that any order is right.
        """
        i, j = self._index[first], self._index[second]
        if (min(i, j), max(i, j)) in self._shared:
            return False
        if first not in self._after:
            self._after[first] = nx.descendants(self.graph, first)
        if second not in self._after:
            self._after[second] = nx.descendants(self.graph, second)
        return second not in self._after[first] and first not in self._after[second]

    def _refuse(self) -> None:
        if self._problems:
            problems, self._problems = self._problems, []
            raise CallbackConflictError(sorted(problems, key=str))

    # Who meets whom. A set of callbacks is an integer with a bit for each.

    def _meetings(self) -> dict[int, list[type[Hook]]]:
        """The sets of callbacks that meet, each with the hooks where they do."""
        groups: dict[int, list[type[Hook]]] = {}
        by_hook: dict[type[Hook], list[tuple[int, Handler]]] = {}
        for i, own in enumerate(self.handlers):
            for handler in own.values():
                by_hook.setdefault(handler.hook, []).append((i, handler))
        phases: list[type[Phase]] = [Phase, *subclasses(Phase)]
        for hook, handling in by_hook.items():
            kinds = {handler.phases for _, handler in handling}
            for phase in phases if hook.phased else [None]:
                matching = {kind for kind in kinds if phase is None or issubclass(phase, kind)}
                members = sum(1 << i for i, handler in handling if handler.phases in matching)
                hooks = groups.setdefault(members, [])
                if members and hook not in hooks:
                    hooks.append(hook)
        groups.pop(0, None)
        return groups

    def _members(self, hook: type[Hook], phase: type[Phase] | None) -> int:
        name = hook.hook
        return sum(
            1 << i
            for i, own in enumerate(self.handlers)
            if name in own and own[name].handles(phase if hook.phased else None)
        )

    def _name_events(self) -> None:
        for before, after, data in self.graph.edges(data=True):
            both = 1 << self._index[before] | 1 << self._index[after]
            met = {hook: None for members, hooks in self._groups.items() if members & both == both for hook in hooks}
            data["events"] = tuple(met)

    # The explicit order.

    def _run_after(self) -> nx.DiGraph:
        """The relation `run_after`, over all callbacks, as a graph of their indices."""
        explicit = nx.DiGraph()
        explicit.add_nodes_from(range(len(self.callbacks)))
        named: dict[str, list[int]] = {}
        if any(callback.run_after for callback in self.callbacks):
            for i, callback in enumerate(self.callbacks):
                for name in plugins.names_of(callback):
                    named.setdefault(name, []).append(i)
        for after, callback in enumerate(self.callbacks):
            for entry in self._entries(callback):
                if isinstance(entry, str):
                    said, earlier = entry, named.get(entry, [])
                else:
                    said = entry.__name__
                    earlier = [i for i, other in enumerate(self.callbacks) if isinstance(unwrap(other), entry)]
                for before in earlier:
                    if before != after:
                        self._add(explicit, before, after, f"{callback.name}.run_after names {said}")
        return explicit

    @staticmethod
    def _entries(callback: Callback) -> Iterator[type[Callback] | str]:
        declared: Any = callback.run_after
        if isinstance(declared, (str, type)):
            said = repr(declared) if isinstance(declared, str) else declared.__name__
            raise AccessError(f"{callback.name}.run_after is {said}; it is a tuple: run_after = ({said},)")
        for entry in declared:
            if not (isinstance(entry, str) or (isinstance(entry, type) and issubclass(entry, Callback))):
                raise AccessError(
                    f"{callback.name}.run_after has {entry!r}. It lists callback classes, or the names of "
                    f'entry points or classes: run_after = (Recorder, "metrics")'
                )
            yield entry

    def _add(self, explicit: nx.DiGraph | None, before: int, after: int, reason: str) -> None:
        if explicit is not None and not explicit.has_edge(before, after):
            explicit.add_edge(before, after)
        if not self.graph.has_edge(self.callbacks[before], self.callbacks[after]):
            self.graph.add_edge(self.callbacks[before], self.callbacks[after], reason=reason, events=())

    def _ancestors(self) -> list[int] | None:
        """For each callback the set of those that `run_after` puts before it; None if it goes in circles."""
        ancestors = [0] * len(self.callbacks)
        try:
            for i in nx.topological_sort(self._explicit):
                for before in self._explicit.predecessors(i):
                    ancestors[i] |= ancestors[before] | 1 << before
        except nx.NetworkXUnfeasible:
            self._circles(self._explicit, "`run_after` goes in a circle")
            return None
        return ancestors

    # The order that the data flow makes.

    def _flow(self, ancestors: list[int]) -> None:
        """Add an edge for every pair that meets and uses the same state; note those that clash."""
        met: dict[int, int] = {}
        for members in self._groups:
            for i in bits(members):
                met[i] = met.get(i, 0) | members
        for (i, j), overlap in self._shared.items():
            ordered = ancestors[i] >> j & 1 or ancestors[j] >> i & 1
            first, second = self.callbacks[i], self.callbacks[j]
            known = self.graph.has_edge(first, second) or self.graph.has_edge(second, first)
            if not ordered and not known and met.get(i, 0) >> j & 1:
                self._settle(i, j, overlap)

    def _overlaps(self) -> dict[tuple[int, int], list[Overlap]]:
        """Every pair of callbacks whose paths overlap, with a Write on at least one side."""
        holders: dict[str, tuple[list[int], list[int]]] = {}  # path: those who read, those who write
        for i, access in enumerate(self._access):
            for path, permission in access.items():
                holders.setdefault(path, ([], []))[permission is Write].append(i)
        pairs: dict[tuple[int, int], list[Overlap]] = {}

        def note(i: int, path: str, mode: type[Permission], j: int, other: str, other_mode: type[Permission]) -> None:
            if i < j:
                pairs.setdefault((i, j), []).append((path, mode, other, other_mode))
            elif j < i:
                pairs.setdefault((j, i), []).append((other, other_mode, path, mode))

        for path, (readers, writers) in holders.items():
            for i, j in combinations(writers, 2):
                note(i, path, Write, j, path, Write)
            for i in writers:
                for j in readers:
                    note(i, path, Write, j, path, Read)
            above = parts(path)
            for length in range(1, len(above)):
                prefix = ".".join(above[:length])
                readers_above, writers_above = holders.get(prefix, ((), ()))
                for j in writers_above:
                    for i in writers:
                        note(i, path, Write, j, prefix, Write)
                    for i in readers:
                        note(i, path, Read, j, prefix, Write)
                for j in readers_above:
                    for i in writers:
                        note(i, path, Write, j, prefix, Read)
        for i in holders.get("callbacks", ([], []))[0]:  # it may look at their own state, which has no path
            for j in range(len(self.callbacks)):
                if j != i:
                    pairs.setdefault((min(i, j), max(i, j)), [])
        return pairs

    def _settle(self, i: int, j: int, overlap: list[Overlap]) -> None:
        """Order two callbacks that meet and use the same state, or note why they cannot be."""
        first, second = self.callbacks[i], self.callbacks[j]
        answers = self._answers(first, second)
        distinct = list(dict.fromkeys(answer for _, answer in answers))
        if len(distinct) > 1:
            said = "; ".join(f"{who} answers {shown(answer)}" for who, answer in answers)
            self._problem(
                (first, second),
                f"{first.name} and {second.name} both use {paths_of(overlap)}, and they settle it differently: {said}.",
                "let one of them answer NotDefined(), or both the same.",
            )
        elif not distinct:
            self._settle_by_flow(i, j, overlap)
        elif isinstance(distinct[0], RunFirst):
            before, after = (i, j) if distinct[0].callback is first else (j, i)
            self._add(None, before, after, f"RunFirst({self.callbacks[before].name}), says {answers[0][0]}")
        elif isinstance(distinct[0], Unresolvable):
            reason = distinct[0].reason
            self._problem(
                (first, second),
                f"{first.name} and {second.name} cannot be used together, says {answers[0][0]}"
                + (f": {reason}" if reason else f"; both use {paths_of(overlap)}."),
                f"remove one of them: learner.remove_callback({type(unwrap(second)).__name__})",
            )

    def _settle_by_flow(self, i: int, j: int, overlap: list[Overlap]) -> None:
        first, second = self.callbacks[i], self.callbacks[j]
        contested = [(path, other) for path, mode, other, other_mode in overlap if mode is other_mode is Write]
        if contested:
            a, b = type(unwrap(first)).__name__, type(unwrap(second)).__name__
            self._problem(
                (first, second),
                f"{first.name} and {second.name} both write {both_paths(*contested[0])}, and nothing orders them.",
                f"let one run after the other, in {b}: run_after = ({a},); or let "
                f"{a}.resolve_conflict(self, other) answer RunFirst(self or other), NoConflict() or Unresolvable().",
            )
            return
        for path, mode, other, _ in overlap:
            writer, reader, written, read = (i, j, path, other) if mode is Write else (j, i, other, path)
            names = self.callbacks[reader].name, self.callbacks[writer].name
            detail = f"which {names[1]} writes" if read == written else f"and {names[1]} writes `{written}`"
            self._add(None, writer, reader, f"{names[0]} reads `{read}`, {detail}")

    def _answers(self, first: Callback, second: Callback) -> list[tuple[str, ConflictResolution]]:
        """What is said about a pair, and by whom; opinions only."""
        inner, other = unwrap(first), unwrap(second)
        given: list[tuple[str, ConflictResolution | None]] = [
            (f"{first.name}.resolve_conflict", inner.resolve_conflict(other)),
            (f"{second.name}.resolve_conflict", other.resolve_conflict(inner)),
        ]
        for pair in ((inner, other), (other, inner)):
            given += [("a plugin's resolve_conflict", answer) for answer in self._resolve(*pair)]
        answers = []
        for who, answer in given:
            if isinstance(answer, RunFirst):
                answer = RunFirst(self._one_of(answer.callback, first, second, who))
            elif answer is not None and not isinstance(answer, ConflictResolution):
                raise AccessError(
                    f"{who} answered {answer!r} for {first.name} and {second.name}. It answers with an instance: "
                    f"RunFirst(callback), NoConflict(), Unresolvable() or NotDefined()."
                )
            if answer is not None and not isinstance(answer, NotDefined):
                answers.append((who, answer))
        return answers

    @staticmethod
    def _one_of(chosen: Callback, first: Callback, second: Callback, who: str) -> Callback:
        for callback in (first, second):
            if chosen is callback or chosen is unwrap(callback):
                return callback
        raise AccessError(
            f"{who} answered RunFirst({chosen!r}) for {first.name} and {second.name}; it has to be one of the two."
        )

    def _check_readers(self) -> None:
        """Note every read of `cbstate` that nobody writes."""
        written = {path for access in self._access for path, mode in access.items() if mode is Write}
        reaching = {".".join(parts(path)[:n]) for path in written for n in range(1, len(parts(path)) + 1)}
        for callback, access in zip(self.callbacks, self._access, strict=True):
            for path, mode in access.items():
                steps = parts(path)
                above = {".".join(steps[:n]) for n in range(1, len(steps))}
                if (
                    mode is Read
                    and len(steps) > 1
                    and steps[0] == "cbstate"
                    and not (path in reaching or above & written)
                ):
                    self._problem(
                        (callback,), f"{callback.name} reads `{path}`, and no callback writes it.", mend_reader(path)
                    )

    # The order of those that meet.

    def _order(self, members: int) -> None:
        """Sort a set of callbacks that meet, or note the circle they are in."""
        if members in self._orders:
            return
        indices = list(bits(members))
        graph = nx.DiGraph()
        graph.add_nodes_from(indices)
        for i in indices:
            graph.add_edges_from((before, i) for before in self._before(i, members))
            for successor in self.graph.successors(self.callbacks[i]):
                j = self._index[successor]
                if members >> j & 1 and not self._explicit.has_edge(i, j):
                    graph.add_edge(i, j)
        try:
            ordered = nx.lexicographical_topological_sort(graph, key=lambda i: (self.callbacks[i].name, i))
            self._orders[members] = tuple(self.callbacks[i] for i in ordered)
        except nx.NetworkXUnfeasible:
            self._circles(graph, f"The order at `{self._groups[members][0].hook}` goes in a circle")

    def _before(self, i: int, members: int) -> set[int]:
        """The members that `run_after` puts before one, with none of them in between."""
        found, seen, waiting = set(), {i}, [i]
        while waiting:
            for before in self._explicit.predecessors(waiting.pop()):
                if before not in seen:
                    seen.add(before)
                    if members >> before & 1:
                        found.add(before)
                    else:
                        waiting.append(before)
        return found

    def _circles(self, graph: nx.DiGraph, what: str) -> None:
        for component in sorted(nx.strongly_connected_components(graph), key=min):
            if len(component) > 1:
                edges = nx.find_cycle(graph.subgraph(component), min(component))
                chain = [self.callbacks[i] for i, _ in edges]
                start = min(range(len(chain)), key=lambda k: (chain[k].name, k))
                edges = edges[start:] + edges[:start]
                told = "; then ".join(
                    f"{self.callbacks[i].name} before {self.callbacks[j].name} ({self._reason(i, j)})" for i, j in edges
                )
                problem = Problem(
                    tuple(self.callbacks[i] for i, _ in edges),
                    f"{what}: {told}.",
                    "take one of these reasons away: a name out of run_after, or a path out of state_access "
                    "that the callback does not need.",
                )
                if not any(set(problem.callbacks) == set(other.callbacks) for other in self._problems):
                    self._problems.append(problem)

    def _reason(self, i: int, j: int) -> str:
        data = self.graph.get_edge_data(self.callbacks[i], self.callbacks[j])
        if data is not None:
            return str(data["reason"])
        path = nx.shortest_path(self._explicit, i, j)
        return ", ".join(
            str(self.graph.edges[self.callbacks[a], self.callbacks[b]]["reason"]) for a, b in pairwise(path)
        )

    def _problem(self, callbacks: tuple[Callback, ...], what: str, mend: str) -> None:
        self._problems.append(Problem(callbacks, what, mend))


def bits(members: int) -> Iterator[int]:
    """The positions of an integer's ones."""
    while members:
        lowest = members & -members
        yield lowest.bit_length() - 1
        members ^= lowest


def mend_reader(path: str) -> str:
    """How to give a path a writer."""
    offers = [
        f"{plugin.value.partition(':')[2]} (of {plugin.distribution}, `{plugin.name}`)" for plugin in providers(path)
    ]
    if offers:
        return f"add {' or '.join(offers)} to the learner's callbacks."
    return f'add a callback that writes it; no installed plugin says that it does. Its class declares "{path}": Write.'


def both_paths(path: str, other: str) -> str:
    """One path, or two that overlap, in a message."""
    return f"`{path}`" if path == other else f"`{path}` and `{other}`"


def paths_of(overlap: list[Overlap]) -> str:
    """All paths that overlap, in a message."""
    return ", ".join(dict.fromkeys(both_paths(path, other) for path, _, other, _ in overlap)) or "`callbacks`"


def shown(answer: ConflictResolution) -> str:
    """A resolution, in a message."""
    return f"RunFirst({answer.callback.name})" if isinstance(answer, RunFirst) else f"{type(answer).__name__}()"
