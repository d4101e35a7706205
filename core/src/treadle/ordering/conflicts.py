"""Conflicts: which callbacks use the same state, and how two that do are ordered or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from treadle.access import Permission, Read, Write, parts
from treadle.callback import Callback, ConflictResolution, NotDefined, RunFirst, Unresolvable, unwrap
from treadle.errors import AccessError, Problem
from treadle.events import Hook
from treadle.operations import Operation
from treadle.ordering.handlers import Handler
from treadle.ordering.participants import bits

Access = Mapping[str, type[Permission]]


#: Two paths that overlap, the first callback's and the second's, with the permissions declared.
Overlap = tuple[str, type[Permission], str, type[Permission]]


def shared_state(accesses: Sequence[Access]) -> dict[tuple[int, int], list[Overlap]]:
    """Every pair of callbacks whose paths overlap, with a `Write` on at least one side.

    A callback that reads `callbacks` may look at the others' own state, which has no path: it makes a pair with
    each of them.

    Args:
        accesses: What each callback declares.

    Returns:
        For each pair of positions, the smaller first, the paths that overlap.

    Example:
        >>> list(shared_state([{"step": Write}, {"step.loss": Read}, {"model": Read}]))
        [(0, 1)]
    """
    holders: dict[str, tuple[list[int], list[int]]] = {}  # path: those who read it, those who write it
    for i, access in enumerate(accesses):
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
        for prefix in prefixes(path):
            readers_above, writers_above = holders.get(prefix, ((), ()))
            for j in writers_above:
                for i in writers:
                    note(i, path, Write, j, prefix, Write)
                for i in readers:
                    note(i, path, Read, j, prefix, Write)
            for j in readers_above:
                for i in writers:
                    note(i, path, Write, j, prefix, Read)
    for i in holders.get("callbacks", ((), ()))[0]:
        for j in range(len(accesses)):
            if j != i:
                pairs.setdefault((min(i, j), max(i, j)), [])
    return pairs


def shared_answers(
    handlers: Sequence[Mapping[str, Handler]], groups: Mapping[int, Sequence[type[Hook]]]
) -> dict[tuple[int, int], list[Overlap]]:
    """Every pair of callbacks that answer one operation in the same phase, as if they wrote it.

    Only the first answer counts, so their order makes a difference. Wrappers do not answer.

    Args:
        handlers: For each callback its handlers, by the name of the method.
        groups: The sets of callbacks that meet, each with the hooks where they do.

    Returns:
        For each pair of positions, the smaller first, the operations, written as calls.
    """
    pairs: dict[tuple[int, int], list[Overlap]] = {}
    for group, hooks in groups.items():
        for operation in hooks:
            if issubclass(operation, Operation):
                answering = [i for i in bits(group) if not handlers[i][operation.hook].wrapper]
                call = f"{operation.hook}()"
                for pair in combinations(answering, 2):
                    pairs.setdefault(pair, []).append((call, Write, call, Write))
    return pairs


def unwritten_reads(accesses: Sequence[Access]) -> Iterator[tuple[int, str]]:
    """Every read of an entry of `cbstate` that no callback writes: the reader's position and the path."""
    written = {path for access in accesses for path, mode in access.items() if mode is Write}
    reached = written | {prefix for path in written for prefix in prefixes(path)}
    for i, access in enumerate(accesses):
        for path, mode in access.items():
            there = path in reached or not written.isdisjoint(prefixes(path))
            if mode is Read and path.startswith("cbstate.") and not there:
                yield i, path


def prefixes(path: str) -> list[str]:
    """The paths above a path.

    Example:
        >>> prefixes("cbstate.hyperparams.LearningRate")
        ['cbstate', 'cbstate.hyperparams']
    """
    steps = parts(path)
    return [".".join(steps[:length]) for length in range(1, len(steps))]


#: Asked for a pair that clashes, beside the callbacks themselves: who answers, and what.
Resolver = Callable[[Callback, Callback], Iterable[tuple[str, ConflictResolution | None]]]


@dataclass(frozen=True)
class Edge:
    """One callback runs before another.

    Args:
        before: The one that runs first.
        after: The other.
        reason: A sentence that says why.
    """

    before: Callback
    after: Callback
    reason: str


def settle(first: Callback, second: Callback, overlap: list[Overlap], resolve: Resolver) -> list[Edge] | Problem:
    """Order two callbacks by what they, or a plugin, say about it; else the writer before the reader.

    Args:
        first: One of the two.
        second: The other.
        overlap: The paths of the first and the second that overlap, with a `Write` among each two.
        resolve: Asked in both orders.

    Returns:
        The edges, none if any order is right; or the problem, if there is no order.

    Raises:
        AccessError: if somebody answers what is no resolution for these two.
    """
    answers = opinions(first, second, resolve)
    if not answers:
        return by_flow(first, second, overlap)
    who, answer = answers[0]
    if any(not same(answer, other) for _, other in answers):
        said = "; ".join(f"{source} answers {shown(other)}" for source, other in answers)
        shared = f"both use {paths_of(overlap)}, and they settle it" if overlap else "settle their order"
        return Problem(
            (first, second),
            f"{first.name} and {second.name} {shared} differently: {said}.",
            "let one of them answer NotDefined(), or both the same.",
        )
    if isinstance(answer, RunFirst):
        after = second if answer.callback is first else first
        return [Edge(answer.callback, after, f"RunFirst({answer.callback.name}), says {who}")]
    if isinstance(answer, Unresolvable):
        shared = f"; both use {paths_of(overlap)}" if overlap else ""
        reason = f": {answer.reason}" if answer.reason else f"{shared}."
        return Problem(
            (first, second),
            f"{first.name} and {second.name} cannot be used together, says {who}{reason}",
            f"leave one of them out of the callbacks, {first.name} or {second.name}.",
        )
    return []


def by_flow(first: Callback, second: Callback, overlap: list[Overlap]) -> list[Edge] | Problem:
    """The writer before the reader; two writers are a problem."""
    for path, mode, other, other_mode in overlap:
        if mode is other_mode is Write:
            does = "answer" if path.endswith("()") else "write"  # an operation has no path, and is written as a call
            a, b = type(unwrap(first)).__name__, type(unwrap(second)).__name__
            order = f"let one run after the other, in {b}: run_after = ({a},)" if a != b else "use only one of them"
            return Problem(
                (first, second),
                f"{first.name} and {second.name} both {does} {both(path, other)}, and nothing orders them.",
                f"{order}; or let {a}.resolve_conflict(self, other) answer RunFirst(self or other), NoConflict() "
                f"or Unresolvable().",
            )
    edges = []
    for path, mode, other, _ in overlap:
        writer, reader, written, read = (first, second, path, other) if mode is Write else (second, first, other, path)
        detail = f"which {writer.name} writes" if read == written else f"and {writer.name} writes `{written}`"
        edges.append(Edge(writer, reader, f"{reader.name} reads `{read}`, {detail}"))
    return edges


def opinions(first: Callback, second: Callback, resolve: Resolver) -> list[tuple[str, ConflictResolution]]:
    """What is said about a pair, and by whom; without those who have no opinion."""
    inner, other = unwrap(first), unwrap(second)
    given: list[tuple[str, ConflictResolution | None]] = [
        (f"{first.name}.resolve_conflict", inner.resolve_conflict(other)),
        (f"{second.name}.resolve_conflict", other.resolve_conflict(inner)),
    ]
    for pair in ((inner, other), (other, inner)):
        given += resolve(*pair)
    said = []
    for who, answer in given:
        if answer is None or isinstance(answer, NotDefined):
            continue
        if not isinstance(answer, ConflictResolution):
            raise AccessError(
                f"{who} answered {answer!r} for {first.name} and {second.name}. It answers with an instance: "
                f"RunFirst(callback), NoConflict(), Unresolvable() or NotDefined()."
            )
        if isinstance(answer, RunFirst):
            answer = RunFirst(one_of(answer.callback, first, second, who))
        said.append((who, answer))
    return said


def one_of(chosen: Callback, first: Callback, second: Callback, who: str) -> Callback:
    """Which of the two a `RunFirst` means; the one in use, if it names one inside of a wrapper."""
    for callback in (first, second):
        if chosen is callback or chosen is unwrap(callback):
            return callback
    raise AccessError(
        f"{who} answered RunFirst({chosen!r}) for {first.name} and {second.name}; it has to be one of the two."
    )


def same(answer: ConflictResolution, other: ConflictResolution) -> bool:
    """Whether two answers mean the same; the reason of an `Unresolvable` does not count."""
    if isinstance(answer, Unresolvable) and isinstance(other, Unresolvable):
        return True
    return answer == other


def both(path: str, other: str) -> str:
    """One path, or two that overlap, in a message."""
    return f"`{path}`" if path == other else f"`{path}` and `{other}`"


def paths_of(overlap: list[Overlap]) -> str:
    """All paths that overlap, in a message; there are none if one looks at the other's own state."""
    return ", ".join(dict.fromkeys(both(path, other) for path, _, other, _ in overlap)) or "`callbacks`"


def shown(answer: ConflictResolution) -> str:
    """A resolution, in a message."""
    return f"RunFirst({answer.callback.name})" if isinstance(answer, RunFirst) else f"{type(answer).__name__}()"
