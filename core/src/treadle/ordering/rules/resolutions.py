"""How two callbacks that use the same state are ordered: by a resolution, or by the data flow; or why they are not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from treadle.access import Write, nested
from treadle.callback import Callback, ConflictResolution, NoConflict, NotDefined, RunFirst, Unresolvable, unwrap
from treadle.errors import AccessError, Problem
from treadle.events import Hook
from treadle.ordering.conflicts import Overlap
from treadle.ordering.rules.run_after import Edge

#: Asked about a pair, beside the callbacks themselves: the sources of resolutions, and the resolutions.
Resolver = Callable[[Callback, Callback], Iterable[tuple[str, ConflictResolution | None]]]

#: The resolutions that were found for a pair, with their sources.
Found = list[tuple[str, ConflictResolution]]


def resolutions(first: Callback, second: Callback, resolver: Resolver, user: Resolver) -> Found:
    """The resolutions that count for a pair, with their sources; without those that are not defined.

    The callbacks are asked, then the plugins, then the user, whose resolutions are stronger than all others but
    `Unresolvable()`.

    Args:
        resolver: Asks the plugins.
        user: Asks the user.

    Raises:
        AccessError: for what is not a resolution, or one that is not about these two.
    """
    one, other = unwrap(first), unwrap(second)
    found = checked(
        first,
        second,
        [
            (f"{first.name}.resolve_conflict", one.resolve_conflict(other)),
            (f"{second.name}.resolve_conflict", other.resolve_conflict(one)),
            *resolver(one, other),
            *resolver(other, one),
        ],
    )
    by_user = checked(first, second, user(first, second))
    return (refusing(found) or by_user) if by_user else found


def checked(first: Callback, second: Callback, asked: Iterable[tuple[str, ConflictResolution | None]]) -> Found:
    """Those resolutions that are defined, each about the two callbacks as they are in use."""
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


def refusing(found: Found) -> Found:
    """Those resolutions by which the two must not be used together."""
    return [(source, resolution) for source, resolution in found if isinstance(resolution, Unresolvable)]


def resolve(first: Callback, second: Callback, overlap: list[Overlap], found: Found) -> list[Edge] | Problem:
    """The order of two callbacks by the resolutions that were found; at least one was.

    Returns:
        The edges, none if any order is right; or the problem, if there is no order.
    """
    source, resolution = found[0]
    if len({Unresolvable() if isinstance(other, Unresolvable) else other for _, other in found}) > 1:
        both = f"both use {paths_of(overlap)}, and their resolutions differ" if overlap else "differ about their order"
        listed = "; ".join(f"{shown(other)} from {origin}{reason_of(other)}" for origin, other in found)
        user = "leave one of them out."
        if not refusing(found):
            user = f"leave one of them out, or decide where the learner is made:\n    {learner_line(first, second)}"
        return Problem(
            (first, second),
            f"{first.name} and {second.name} {both}: {listed}.",
            f"{user}\nOr, if you wrote one of these resolutions, let it give way:\n    return NotDefined()",
            refused=bool(refusing(found)),
        )
    if isinstance(resolution, RunFirst):
        before, after = (first, second) if resolution.callback is first else (second, first)
        return [Edge(before, after, f"{shown(resolution)}, from {source}")]
    return refusal(first, second, overlap, found) or []


def reason_of(resolution: ConflictResolution) -> str:
    """The reason of a refusal, in brackets, for a message that quotes several resolutions."""
    reason = resolution.reason.rstrip(".") if isinstance(resolution, Unresolvable) else ""
    return f" ({reason})" if reason else ""


def refusal(first: Callback, second: Callback, overlap: list[Overlap], found: Found) -> Problem | None:
    """The problem of two that must not be used together, wherever they stand; None if no resolution says so."""
    for source, resolution in refusing(found):
        assert isinstance(resolution, Unresolvable)
        both = f"; both use {paths_of(overlap)}" if overlap else ""
        reason = f": {resolution.reason}" if resolution.reason else f"{both}."
        return Problem(
            (first, second),
            f"{first.name} and {second.name} cannot be used together (from {source}){reason}",
            f"leave {first.name} or {second.name} out of the learner's callbacks.",
            refused=True,
        )
    return None


def by_data_flow(first: Callback, second: Callback, overlap: list[Overlap]) -> list[Edge] | Problem:
    """The writer before the reader; two writers are a problem."""
    for path, mode, other, other_mode in overlap:
        if mode is other_mode is Write:
            does = "override" if path.endswith("()") else "write"  # an operation has no path, and is written as a call
            what = f"{first.name} and {second.name} both {does} {both_paths(path, other)}, and nothing orders them."
            return Problem((first, second), what, order_fix(first, second))
    edges = []
    for path, mode, other, _ in sorted(overlap, key=lambda uses: not nested(uses[0], uses[2])):  # plain reasons first
        writer, reader, written, read = (first, second, path, other) if mode is Write else (second, first, other, path)
        detail = f"which {writer.name} writes" if read == written else f"and {writer.name} writes `{written}`"
        does = "enters the loop" if read == "loop" else f"reads `{read}`"
        edges.append(Edge(writer, reader, f"{reader.name} {does}, {detail}"))
    return edges


def lost_part(one: Callback, other: Callback, hook: type[Hook], found: Found) -> Problem | None:
    """The problem of one that may compute gradients anew in `update`, without the part that another has in them.

    No problem if somebody says that it is none: any order of the two is right.
    """
    if any(isinstance(resolution, NoConflict) for _, resolution in found):
        return None
    a, b = type(unwrap(one)).__name__, type(unwrap(other)).__name__
    return Problem(
        (one, other),
        f"{one.name} overrides `update` and, by what it declares, may compute the gradients anew there, without "
        f"{other.name}, which has a part in them at `{hook.hook}`.",
        f"leave one of them out, or, if {one.name} uses the gradients that are there, or does not need "
        f"{other.name}, say so where the learner is made:\n"
        f"    {learner_line(one, other, 'any')}\n"
        f"Or, if you wrote {b}, let it wrap `finalize_gradients`, and if you wrote {a}, declare `loop` and compute "
        f"the gradients by the operations, to which such callbacks belong:\n"
        f"    learner.loop.perform(Forward), ... (Loss), ... (Backward), ... (FinalizeGradients)",
    )


# In messages.


def order_fix(first: Callback, second: Callback) -> str:
    """How two callbacks get an order: by the user, who may own neither, and by the author of one of them."""
    a, b = type(unwrap(first)).__name__, type(unwrap(second)).__name__
    if first.name == second.name:
        user = (
            f"use only one of them, or name one of them and choose which runs first, where the learner is made:\n"
            f'    another.name = "another"\n'
            f'    Learner(..., resolve={{({quoted(first.name)}, "another"): "first"}})\n'
            f"Or, if any order is right:\n    {learner_line(first, second, 'any')}"
        )
    else:
        user = (
            f"leave one of them out, or choose which runs first, where the learner is made:\n"
            f'    {learner_line(first, second)}  # or "second", or "any" if any order is right'
        )
    user += "".join(f"\nOr {one.access_fix}" for one in (first, second) if one.access_fix)
    if a == b:
        written, answer = a, f'NoConflict() if isinstance(other, {a}) else NotDefined()  # or Unresolvable("why")'
    else:
        written, answer = f"{a} or {b}", f"RunFirst(self) if isinstance(other, {b}) else NotDefined()  # in {a}"
    return (
        f"{user}\nOr, if you wrote {written}, decide there:\n"
        f"    def resolve_conflict(self, other):\n        return {answer}"
    )


def learner_line(first: Callback, second: Callback, answer: str = "first") -> str:
    """The line by which a user orders two callbacks without touching either class."""
    return f'Learner(..., resolve={{({quoted(first.name)}, {quoted(second.name)}): "{answer}"}})'


def quoted(name: str) -> str:
    """A name as it is written in code."""
    return json.dumps(name, ensure_ascii=False)


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
