"""Conflicts: which callbacks use the same state, who reads what none writes, whose part in gradients is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product

from treadle.access import Permission, Read, Write, overlaps, parts, state_of, states_around
from treadle.callback import Callback
from treadle.errors import Problem
from treadle.events import BackwardBegin, BackwardEnd, Hook, LossBegin, UpdateBegin
from treadle.operations import Backward, FinalizeGradients, Forward, Loss, Operation, Update
from treadle.ordering.handlers import Handler
from treadle.ordering.participants import Group, bits
from treadle.phases import AbstractValidationPhase
from treadle.plugins.providers import providers

#: What a callback declares: paths and permissions.
Access = Mapping[str, type[Permission]]

#: Two paths that overlap, the first callback's and the second's, with the permissions declared.
Overlap = tuple[str, type[Permission], str, type[Permission]]

#: The position of a callback, and a path that it uses.
Use = tuple[int, str]

#: For pairs of positions, the smaller first, what the two share.
Shared = dict[tuple[int, int], list[Overlap]]

#: Where callbacks have a part in the gradients that an update is by, the last place first.
PARTS = (UpdateBegin, FinalizeGradients, BackwardEnd, Backward, BackwardBegin, Loss, LossBegin, Forward)


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
                for (mode, inner), (other_mode, outer) in pairs:
                    if Write in (mode, other_mode):
                        for (i, path), (j, other) in product(inner, outer):
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


def shared_overrides(groups: Mapping[Group, Sequence[type[Hook]]]) -> Shared:
    """Every pair of callbacks that override one operation in the same phase, as if they wrote it.

    Only the first override counts, so their order makes a difference. Wrappers do not override.

    Args:
        groups: The sets of callbacks that meet, each with the hooks where they do.
    """
    shared: Shared = {}
    for group, hooks in groups.items():
        for operation in hooks:
            if issubclass(operation, Operation):
                call = f"{operation.hook}()"
                for pair in combinations(bits(group.inside), 2):
                    shared.setdefault(pair, []).append((call, Write, call, Write))
    return shared


def declares_new_gradients(access: Access, handlers: Mapping[str, Handler]) -> bool:
    """Whether a callback overrides `update` and, by what it declares, may compute the gradients anew."""
    update = handlers.get(Update.hook)
    if update is None or update.wrapper:
        return False
    of_gradients = any(mode is Write and parts(path)[:2] == ("step", "grads") for path, mode in access.items())
    return "loop" in access or of_gradients


def passed_by(
    access: Access,
    handlers: Mapping[str, Handler],
    other: Callback,
    other_access: Access,
    other_handlers: Mapping[str, Handler],
) -> type[Hook] | None:
    """Where a callback has a part in the gradients of an update, if one that computes them anew in `update` loses it.

    Args:
        access: What that one declares, which handles `update`. Who enters the loop performs the operations.

    Returns:
        The event or operation; None if it has no part that would be lost.
    """
    update = handlers[Update.hook]
    if not (other.guard or any(mode is Write and overlaps(path, "step") for path, mode in other_access.items())):
        return None
    for hook in PARTS:
        handler = other_handlers.get(hook.hook)
        if handler is None or not meet_in_training(update, handler):
            continue
        if "loop" in access and (issubclass(hook, Operation) or (other.every_backward and hook is not UpdateBegin)):
            continue
        return hook
    return None


def meet_in_training(one: Handler, other: Handler) -> bool:
    """Whether two handlers have a phase in common that is not one of validation."""
    pairs = product(one.phases, other.phases)
    return any(
        (issubclass(first, second) or issubclass(second, first))
        and not issubclass(first, AbstractValidationPhase)
        and not issubclass(second, AbstractValidationPhase)
        for first, second in pairs
    )


def lost_parts(
    callbacks: Sequence[Callback], accesses: Sequence[Access], handlers: Sequence[Mapping[str, Handler]]
) -> dict[tuple[int, int], type[Hook]]:
    """Every pair of one that may compute gradients anew and one whose part in them would be lost, with the place."""
    found = {}
    for i, (access, by_name) in enumerate(zip(accesses, handlers, strict=True)):
        if declares_new_gradients(access, by_name):
            for j, other in enumerate(callbacks):
                hook = passed_by(access, by_name, other, accesses[j], handlers[j]) if j != i else None
                if hook is not None and not other._is_default:
                    found[i, j] = hook
    return found


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
