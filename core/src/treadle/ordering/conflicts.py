"""Conflicts: which callbacks use the same state, and how two that do are ordered or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, product

from treadle.access import Permission, Read, Write, state_of, states_around
from treadle.callback import Callback, ConflictResolution, NotDefined, RunFirst, Unresolvable, unwrap
from treadle.errors import AccessError, Problem
from treadle.events import Hook
from treadle.operations import Operation
from treadle.ordering.participants import Handlers, bits
from treadle.ordering.run_after import Edge
from treadle.plugins.providers import providers

#: What a callback declares: paths and permissions.
Access = Mapping[str, type[Permission]]

#: Two paths that overlap, the first callback's and the second's, with the permissions declared.
Overlap = tuple[str, type[Permission], str, type[Permission]]

#: The position of a callback, and a path that it uses.
Use = tuple[int, str]

#: For pairs of positions, the smaller first, what the two share.
Shared = dict[tuple[int, int], list[Overlap]]

#: Asked about a pair, beside the callbacks themselves: the sources of resolutions, and the resolutions.
Resolver = Callable[[Callback, Callback], Iterable[tuple[str, ConflictResolution | None]]]


# Which callbacks use the same state.


def shared_state(accesses: Sequence[Access]) -> Shared:
    """Every pair of callbacks whose paths overlap, with a `Write` on at least one side.

    A callback that enters the loop reads all that others write. One that reads `callbacks` may look at the others'
    own state, which has no path: it makes a pair with each of them.

    Example:
        >>> list(shared_state([{"step": Write}, {"step.loss": Read}, {"optimizer": Read}]))
        [(0, 1)]
        >>> shared_state([{"params": Write}, {"model": Read}])
        {(0, 1): [('params', <class 'treadle.access.Write'>, 'model', <class 'treadle.access.Read'>)]}
    """
    users: dict[str, tuple[list[Use], list[Use]]] = {}  # state: those who read it, those who write it
    for i, access in enumerate(accesses):
        for path, permission in access.items():
            users.setdefault(state_of(path), ([], []))[permission is Write].append((i, path))
    shared: Shared = {}

    def share(i: int, path: str, mode: type[Permission], j: int, other: str, other_mode: type[Permission]) -> None:
        if i < j:
            shared.setdefault((i, j), []).append((path, mode, other, other_mode))
        else:
            shared.setdefault((j, i), []).append((other, other_mode, path, mode))

    for state, (readers, writers) in users.items():
        for (i, path), (j, other) in combinations(writers, 2):
            share(i, path, Write, j, other, Write)
        for (i, path), (j, other) in product(writers, readers):
            share(i, path, Write, j, other, Read)
        for around in states_around(state):
            if around != state and around in users:
                readers_around, writers_around = users[around]
                pairs = product(((Write, writers), (Read, readers)), ((Write, writers_around), (Read, readers_around)))
                for (mode, here), (other_mode, there) in pairs:
                    if Write in (mode, other_mode):
                        for (i, path), (j, other) in product(here, there):
                            share(i, path, mode, j, other, other_mode)
    for i in entering_the_loop(accesses):
        for j, access in enumerate(accesses):
            for path, permission in access.items():
                if permission is Write and path != "loop":
                    share(i, "loop", Read, j, path, Write)
    for i, access in enumerate(accesses):
        for j in range(len(accesses)) if "callbacks" in access else ():
            if j != i:
                shared.setdefault((min(i, j), max(i, j)), [])
    return {pair: overlap for pair, overlap in shared.items() if pair[0] != pair[1]}


def entering_the_loop(accesses: Sequence[Access]) -> list[int]:
    """The positions of the callbacks that may run operations, steps and epochs."""
    return [i for i, access in enumerate(accesses) if "loop" in access]


def shared_overrides(handlers: Handlers, groups: Mapping[int, Sequence[type[Hook]]]) -> Shared:
    """Every pair of callbacks that override one operation in the same phase, as if they wrote it.

    Only the first override counts, so their order makes a difference. Wrappers do not override.

    Args:
        groups: The sets of callbacks that meet, each with the hooks where they do.
    """
    shared: Shared = {}
    for group, hooks in groups.items():
        for operation in hooks:
            if issubclass(operation, Operation):
                overriding = [i for i in bits(group) if not handlers[i][operation.hook].wrapper]
                call = f"{operation.hook}()"
                for pair in combinations(overriding, 2):
                    shared.setdefault(pair, []).append((call, Write, call, Write))
    return shared


def missing_writers(callbacks: Sequence[Callback], accesses: Sequence[Access]) -> list[Problem]:
    """A problem for every entry of `cbstate` that a callback reads and none writes."""
    written = {path for access in accesses for path, mode in access.items() if mode is Write}
    reached = {state for path in written for state in states_around(path)}
    problems = []
    for reader, access in zip(callbacks, accesses, strict=True):
        for path, mode in access.items():
            missing = path not in reached and written.isdisjoint(states_around(path))
            if mode is Read and path.startswith("cbstate.") and missing:
                what = f"{reader.name} reads `{path}`, and no callback writes it."
                problems.append(Problem((reader,), what, writer_fix(path)))
    return problems


def writer_fix(path: str) -> str:
    """How an entry of `cbstate` gets a writer: an installed callback that declares it, or one of the user's own."""
    installed = providers(path)
    if not installed:
        return f'add a callback of your own, for no installed one writes it:\n    state_access = {{"{path}": Write}}'
    offers = " or ".join(f"{plugin.value.partition(':')[2]} (of {plugin.distribution})" for plugin in installed)
    return f'add {offers} to the learner\'s callbacks:\n    callbacks=["{installed[0].name}", ...]'


# How two that use the same state are ordered.


def resolve(first: Callback, second: Callback, overlap: list[Overlap], resolver: Resolver) -> list[Edge] | Problem:
    """Order two callbacks by the resolution that they or a plugin give; without one, the writer before the reader.

    Returns:
        The edges, none if any order is right; or the problem, if there is no order.

    Raises:
        AccessError: for what is not a resolution, or one that is not about these two.
    """
    found = resolutions(first, second, resolver)
    if not found:
        return by_data_flow(first, second, overlap)
    source, resolution = found[0]
    if len({Unresolvable() if isinstance(other, Unresolvable) else other for _, other in found}) > 1:
        both = f"both use {paths_of(overlap)}, and their resolutions differ" if overlap else "differ about their order"
        listed = "; ".join(f"{shown(other)} from {origin}" for origin, other in found)
        return Problem(
            (first, second),
            f"{first.name} and {second.name} {both}: {listed}.",
            f"leave {first.name} or {second.name} out, or let one of the resolutions give way (of a callback: in a "
            f"subclass):\n    return NotDefined()",
        )
    if isinstance(resolution, RunFirst):
        before, after = (first, second) if resolution.callback is first else (second, first)
        return [Edge(before, after, f"{shown(resolution)}, from {source}")]
    if isinstance(resolution, Unresolvable):
        both = f"; both use {paths_of(overlap)}" if overlap else ""
        reason = f": {resolution.reason}" if resolution.reason else f"{both}."
        return Problem(
            (first, second),
            f"{first.name} and {second.name} cannot be used together (from {source}){reason}",
            f"leave {first.name} or {second.name} out of the learner's callbacks.",
        )
    return []


def resolutions(first: Callback, second: Callback, resolver: Resolver) -> list[tuple[str, ConflictResolution]]:
    """The resolutions for a pair with their sources, the callbacks first; without those that are not defined."""
    one, other = unwrap(first), unwrap(second)
    asked: list[tuple[str, ConflictResolution | None]] = [
        (f"{first.name}.resolve_conflict", one.resolve_conflict(other)),
        (f"{second.name}.resolve_conflict", other.resolve_conflict(one)),
        *resolver(one, other),
        *resolver(other, one),
    ]
    found = []
    for source, resolution in asked:
        if resolution is None or isinstance(resolution, NotDefined):
            continue
        if not isinstance(resolution, ConflictResolution):
            raise AccessError(
                f"{source} returned {resolution!r} for {first.name} and {second.name}, which is not a resolution.\n"
                f"Fix: return RunFirst(callback), NoConflict(), Unresolvable() or NotDefined():\n"
                f"    return NoConflict()"
            )
        if isinstance(resolution, RunFirst):
            chosen = resolution.callback
            in_use = [callback for callback in (first, second) if chosen is callback or chosen is unwrap(callback)]
            if not in_use:
                raise AccessError(
                    f"{source} returned RunFirst({chosen!r}) for {first.name} and {second.name}, and it is neither.\n"
                    f"Fix: return one of the two:\n    return RunFirst(self)"
                )
            resolution = RunFirst(in_use[0])
        found.append((source, resolution))
    return found


def by_data_flow(first: Callback, second: Callback, overlap: list[Overlap]) -> list[Edge] | Problem:
    """The writer before the reader; two writers are a problem."""
    for path, mode, other, other_mode in overlap:
        if mode is other_mode is Write:
            does = "override" if path.endswith("()") else "write"  # an operation has no path, and is written as a call
            what = f"{first.name} and {second.name} both {does} {both_paths(path, other)}, and nothing orders them."
            return Problem((first, second), what, order_fix(first, second))
    edges = []
    for path, mode, other, _ in overlap:
        writer, reader, written, read = (first, second, path, other) if mode is Write else (second, first, other, path)
        detail = f"which {writer.name} writes" if read == written else f"and {writer.name} writes `{written}`"
        does = "enters the loop" if read == "loop" else f"reads `{read}`"
        edges.append(Edge(writer, reader, f"{reader.name} {does}, {detail}"))
    return edges


def order_fix(first: Callback, second: Callback) -> str:
    """How two writers get an order: first by the user, who may own neither, then by an author."""
    a, b = type(unwrap(first)).__name__, type(unwrap(second)).__name__
    if (a, first.name) == (b, second.name):
        user = "use only one of them."
    else:
        inherited = f"*{b}.run_after, " if unwrap(second).run_after else ""
        earlier = a if a != b else f'"{first.name}"'
        user = (
            f"leave one of them out, or let one run after the other, in a subclass:\n"
            f"    class My{b}({b}):\n        run_after = ({inherited}{earlier},)"
        )
    return (
        f"{user}\nOr, if you wrote {a if a == b else f'{a} or {b}'}, decide there:\n"
        f"    def resolve_conflict(self, other):\n"
        f"        return RunFirst(self)  # or RunFirst(other), NoConflict(), Unresolvable()"
    )


# In messages.


def both_paths(path: str, other: str) -> str:
    """One path, or two that overlap."""
    return f"`{path}`" if path == other else f"`{path}` and `{other}`"


def paths_of(overlap: list[Overlap]) -> str:
    """All paths that overlap; there are none if one looks at the other's own state."""
    return ", ".join(dict.fromkeys(both_paths(path, other) for path, _, other, _ in overlap)) or "`callbacks`"


def shown(resolution: ConflictResolution) -> str:
    """A resolution as it is written."""
    name = resolution.callback.name if isinstance(resolution, RunFirst) else ""
    return f"{type(resolution).__name__}({name})"
