"""Which callbacks use the same state of the learner: pairs whose paths overlap, and reads of nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from treadle.access import Permission, Read, Write, parts
from treadle.events import Hook
from treadle.handlers import Handler
from treadle.meeting import bits
from treadle.operations import Operation

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
