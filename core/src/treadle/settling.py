"""How two callbacks that meet and use the same state are ordered, or why they cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from treadle.access import Write
from treadle.callback import Callback, ConflictResolution, NotDefined, RunFirst, Unresolvable, unwrap
from treadle.errors import AccessError, Problem
from treadle.sharing import Overlap

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
