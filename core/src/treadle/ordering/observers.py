"""Who only watches, and what others miss where it fails. See `Learner(..., observer_errors="warn")`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from treadle.access import Read, Write, checked, parts
from treadle.arguments import instance_of
from treadle.callback import Callback
from treadle.operations import Operation
from treadle.ordering.conflicts import Access, Overlap, Shared, shared_state
from treadle.ordering.handlers import Handler, handlers, known_hooks


def why_no_observer(callback: Callback, others: Sequence[Callback] = ()) -> str | None:
    """Why an error of a callback ends the fit in any case; None if it only watches.

    An observer writes nothing outside of its own entries of `cbstate`, which are those that no other callback
    declares `Write`; it wraps and overrides nothing; and it is neither a `guard` nor `essential`.

    Args:
        others: The other callbacks of the learner. Default: none.

    Raises:
        ArgumentTypeError: if one of them is not a callback.

    Example:
        >>> from treadle import Write
        >>> class Keeper(Callback):
        ...     state_access = {"cbstate.kept": Write}
        ...     def on_step_end(self, learner): ...
        >>> why_no_observer(Keeper())
        >>> why_no_observer(Keeper(), others=[Keeper()])
        'it writes `cbstate.kept`, as Keeper does'
        >>> class Halve(Callback):
        ...     state_access = {"params": Write}
        ...     def on_step_end(self, learner): ...
        >>> why_no_observer(Halve())
        'it writes `params`'
    """
    for one in (callback, *others):
        instance_of(one, "callback", Callback, "why_no_observer(Recorder())")
    callbacks = [callback, *(other for other in others if other is not callback)]
    accesses = [checked(other.state_access, other.name) for other in callbacks]
    return reason(0, callbacks, accesses, handlers(callback, known_hooks()), shared_state(accesses))


def reason(
    i: int, callbacks: Sequence[Callback], accesses: Sequence[Access], by_name: Mapping[str, Handler], shared: Shared
) -> str | None:
    """Why the callback at a position is no observer, or None.

    Args:
        by_name: Its handlers.
        shared: What pairs of callbacks share.
    """
    callback = callbacks[i]
    if callback.guard:
        return "it is a guard"
    if callback.essential:
        return "it is essential"
    for path, permission in accesses[i].items():
        if permission is Write and parts(path)[0] != "cbstate":
            return f"it writes `{path}`"
    for j, (path, permission, _, other_permission) in overlaps_of(i, shared):
        if permission is Write and other_permission is Write:
            return f"it writes `{path}`, as {callbacks[j].name} does"
    for handler in by_name.values():
        if handler.wrapper:
            return f"it wraps `{handler.hook.hook}`"
        if issubclass(handler.hook, Operation):
            return f"it overrides `{handler.hook.hook}`"
    return None


def readers(i: int, callbacks: Sequence[Callback], shared: Shared) -> dict[str, list[Callback]]:
    """Who reads what the observer at a position writes, by the path."""
    found: dict[str, list[Callback]] = {}
    for j, (path, permission, other_path, other_permission) in overlaps_of(i, shared):
        if permission is Write and other_permission is Read and other_path != "loop":
            readers_of_path = found.setdefault(path, [])
            if callbacks[j] not in readers_of_path:
                readers_of_path.append(callbacks[j])
    return found


def overlaps_of(i: int, shared: Shared) -> Iterator[tuple[int, Overlap]]:
    """What the callback at a position shares, with the position of the other one; its own path comes first."""
    for (first, second), overlap in shared.items():
        if i in (first, second):
            for path, permission, other_path, other_permission in overlap:
                if i == first:
                    yield second, (path, permission, other_path, other_permission)
                else:
                    yield first, (other_path, other_permission, path, permission)
