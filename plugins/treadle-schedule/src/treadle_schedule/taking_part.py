"""Which callbacks take part in a trial run: those without which it would not be like the real one."""

from __future__ import annotations

from collections.abc import Iterable

from treadle import Callback, Operation, Read, Write, accesses
from treadle.access import overlaps
from treadle.callback import unwrap
from treadle.handlers import handlers


def taking_part(callbacks: Iterable[Callback]) -> list[Callback]:
    """Those callbacks that change what is trained, and those from which they read."""
    callbacks = list(callbacks)
    chosen = [callback for callback in callbacks if changes_training(callback)]
    while provide := [each for each in callbacks if each not in chosen and provides(each, chosen)]:
        chosen += provide
    return chosen


def changes_training(callback: Callback) -> bool:
    """Whether a callback writes more than `cbstate` or takes part in an operation, and sets no hyperparameter."""
    if hasattr(unwrap(callback), "hyperparameters"):
        return False
    writes = any(not overlaps("cbstate", path) for path in accesses(callback, Write))
    return writes or any(issubclass(each.hook, Operation) for each in handlers(callback).values())


def provides(callback: Callback, readers: Iterable[Callback]) -> bool:
    """Whether a callback writes an entry of `cbstate` that others read."""
    return any(
        overlaps(read, written)
        for reader in readers
        for read in accesses(reader, Read)
        for written in accesses(callback, Write)
        if overlaps("cbstate", written)
    )
