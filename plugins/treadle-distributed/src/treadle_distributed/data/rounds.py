"""Rounds: each process takes one item of a round."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def rounds(items: Iterable[Any], size: int) -> Iterator[tuple[list[Any], bool]]:
    """Groups of so many items, each with whether it is the last; the last may be shorter.

    Example:
        >>> list(rounds("abc", 2))
        [(['a', 'b'], False), (['c'], True)]
    """
    group: list[Any] = []
    for item in items:
        if len(group) == size:
            yield group, False
            group = []
        group.append(item)
    if group:
        yield group, True


def turns(items: Iterable[Any], rank: int, size: int, *, full: bool = False) -> Iterator[Any]:
    """Of each round the item of this process; those that miss one in the last round take the first items again.

    Args:
        full: Whether a last round that is not full is left out instead.

    Example:
        >>> list(turns("abc", 0, 2)), list(turns("abc", 1, 2))
        (['a', 'c'], ['b', 'a'])
        >>> list(turns("abc", 0, 2, full=True))
        ['a']
    """
    first: list[Any] = []
    for group, _ in rounds(items, size):
        first = first or group
        if full and len(group) < size:
            return
        yield group[rank] if rank < len(group) else first[(rank - len(group)) % len(first)]
