"""What runs on the main process only: the others never see it, so nothing that runs everywhere may depend on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from treadle.access import Permission, Write, overlaps, parts
from treadle.callback import Callback, unwrap
from treadle.errors import Problem
from treadle.operations import Operation
from treadle.ordering.handlers import Handler

#: What a callback declares: paths and permissions.
Access = Mapping[str, type[Permission]]


def main_process_problems(
    callbacks: Sequence[Callback], accesses: Sequence[Access], handlers: Sequence[Mapping[str, Handler]]
) -> list[Problem]:
    """A problem for all by which the processes of a run would come apart, also where there is one process.

    A callback of the main process alone writes entries of `cbstate` that nobody uses who runs everywhere, and nothing
    else; it guards nothing, and overrides no operation.
    """
    everywhere = [
        (callback, access)
        for callback, access in zip(callbacks, accesses, strict=True)
        if not callback.main_process_only
    ]
    problems = []
    for callback, access, by_name in zip(callbacks, accesses, handlers, strict=True):
        if callback.main_process_only:
            problems += [refused(callback, why) for why in reasons(callback, access, by_name)]
            for path in (path for path, mode in access.items() if mode is Write and is_entry(path)):
                for other, others in everywhere:
                    problems += [
                        shared(callback, path, other, mode) for used, mode in others.items() if overlaps(path, used)
                    ][:1]
    return problems


def reasons(callback: Callback, access: Access, handlers: Mapping[str, Handler]) -> Iterator[str]:
    """Why a callback has to run in every process."""
    if callback.guard:
        yield "it is a guard"
    for path, mode in access.items():
        if mode is Write and not is_entry(path):
            yield f"it writes `{path}`"
    for handler in handlers.values():
        if issubclass(handler.hook, Operation) and not handler.wrapper:
            yield f"it overrides `{handler.hook.hook}`"


def is_entry(path: str) -> bool:
    """Whether a path is an entry of `cbstate`, or below one."""
    return parts(path)[0] == "cbstate" and len(parts(path)) > 1


def refused(callback: Callback, why: str) -> Problem:
    """The problem of one that has to run in every process."""
    cls = type(unwrap(callback)).__name__
    return Problem(
        (callback,),
        f"{callback.name} takes part on the main process only, and {why}: in a run of several processes the others "
        f"would do something else.",
        f"leave it out.\nOr, if you wrote {cls}, let it run everywhere:\n    main_process_only = False",
    )


def shared(callback: Callback, path: str, other: Callback, mode: type[Permission]) -> Problem:
    """The problem of an entry that one writes on the main process only, and that another uses everywhere."""
    uses = "writes it too" if mode is Write else "reads it"
    cls, name = type(unwrap(callback)).__name__, type(unwrap(other)).__name__
    return Problem(
        (callback, other),
        f"{callback.name} writes `{path}` on the main process only, and {other.name} {uses} in every process.",
        f"leave one of them out.\nOr, if you wrote {cls}, let it run everywhere:\n    main_process_only = False\n"
        f"Or, if you wrote {name}, let it run on the main process only:\n    main_process_only = True",
    )
