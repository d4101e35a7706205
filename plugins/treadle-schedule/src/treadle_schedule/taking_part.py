"""Which callbacks take part in a trial run: those without which it would not be like the real one."""

from __future__ import annotations

from collections.abc import Iterable

from treadle import (
    Callback,
    EpochBegin,
    EpochEnd,
    FitBegin,
    FitEnd,
    Operation,
    Read,
    StepEnd,
    Write,
    accesses,
)
from treadle.authoring import handlers, overlaps
from treadle.events import Init
from treadle.operations import Epoch, Step

#: Outside of what a step computes: here a callback looks back, stops, saves or restores.
AROUND_STEPS = (Init, FitBegin, FitEnd, Epoch, EpochBegin, EpochEnd, StepEnd)


def taking_part(callbacks: Iterable[Callback]) -> list[Callback]:
    """Those callbacks that change what a step computes, and those from which they read."""
    callbacks = list(callbacks)
    chosen = [callback for callback in callbacks if changes_steps(callback)]
    while provide := [each for each in callbacks if each not in chosen and provides(each, chosen)]:
        chosen += provide
    return chosen


def changes_steps(callback: Callback) -> bool:
    """Whether a callback takes part in a step's operations, or writes more than `cbstate` before its end.

    One that sets hyperparameters does not count, and one that is around whole steps to look at something neither.
    """
    if callback.hyperparameters:
        return False
    hooks = [handler.hook for handler in handlers(callback).values() if handler.hook not in AROUND_STEPS]
    writes = any(not overlaps("cbstate", path) for path in accesses(callback, Write))
    if writes:
        return bool(hooks)
    looks = bool(accesses(callback, Read))
    return any(issubclass(hook, Operation) and not (hook is Step and looks) for hook in hooks)


def provides(callback: Callback, readers: Iterable[Callback]) -> bool:
    """Whether a callback writes an entry of `cbstate` that others read."""
    return any(
        overlaps(read, written)
        for reader in readers
        for read in accesses(reader, Read)
        for written in accesses(callback, Write)
        if overlaps("cbstate", written)
    )
