"""Does a handler change what its callback does not declare `Write`? The check, and `audit` for a real training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from treadle.access import Read, Write, accesses, checked, nested, overlaps
from treadle.callback import Callback
from treadle.dispatch.call import Call
from treadle.errors import TreadleError
from treadle.operations import Forward, Loss
from treadle.testing.changes import RANDOM, SETTINGS, Change
from treadle.testing.record import recorded
from treadle.testing.report import Finding
from treadle.testing.subject import Subject

if TYPE_CHECKING:
    from treadle.learner import Learner


def check(subject: Subject) -> None:
    """What it does not declare `Write` stays as it was."""
    found: dict[str, dict[str, Change]] = {}
    for call, changes in subject.full_record.calls:
        for change in undeclared(call, changes):
            found.setdefault(call.hook.hook, {}).setdefault(change.part.what, change)
    if found:
        texts = (explanation(subject.callback, hook, list(changes.values())) for hook, changes in found.items())
        raise Finding("\n".join(texts))


class AuditError(TreadleError, AssertionError):
    """A handler changed state that its callback does not declare `Write`.

    Attributes:
        changes: What was changed, a `Change` each.
    """

    def __init__(self, message: str, changes: Sequence[Change] = ()) -> None:
        self.changes = tuple(changes)
        super().__init__(message)


@contextmanager
def audit(learner: Learner) -> Iterator[None]:
    """Compare the learner's state before and after every handler, and raise where one changes what it does not declare.

    The views already refuse every access that was not declared. They cannot see a tensor that was declared `Read`
    and is changed in place, a mode that is set on a model, or an optimizer's setting: `audit` finds these. A
    callback that declares no `Write` outside of `cbstate` must also leave the random generators as they are.

    An audit is slow, and it copies the state: use it for a few steps. Handlers run one after the other, whatever
    the learner's runner. Callbacks that override `epoch` or `step`, inside of which all handlers run, are not
    audited there; those that override `forward` or `loss` may draw random numbers.

    Raises:
        AuditError: from the handler that changed something, with the line to add.

    Example:
        >>> from treadle import Callback, TrainingPhase, toy_learner
        >>> class Halve(Callback):
        ...     "Halve the weights; and forget that this is a `Write`."
        ...     state_access = {"params": Read}
        ...     def on_step_end(self, learner, phase: TrainingPhase):
        ...         learner.params["weight"].data.mul_(0.5)
        >>> learner = toy_learner(Halve())
        >>> with audit(learner):
        ...     learner.fit(1)
        Traceback (most recent call last):
        ...
        treadle.testing.checks.audit.AuditError: Halve.on_step_end changed what Halve does not declare `Write`:
          `params.weight` was changed in place.
          Fix: change in Halve.state_access:
              "params": Write
        ...
    """

    def note(call: Call, changes: Sequence[Change]) -> None:
        if found := undeclared(call, changes):
            raise AuditError(explanation(call.callback, call.hook.hook, found), found) from None

    with recorded(learner, note):
        yield


def undeclared(call: Call, changes: Sequence[Change]) -> list[Change]:
    """The changes that a handler may not make."""
    writes = accesses(call.callback, Write)
    overrides = not call.wrapper and call.hook in (Forward, Loss)

    def allowed(change: Change) -> bool:
        if change.part.path == RANDOM:
            return overrides or any(not overlaps(path, "cbstate") for path in writes)
        if change.part.path == SETTINGS:
            return call.wrapper  # which restores them when the operation is done
        if overrides and change.part.what.startswith("the buffer "):
            return True
        return any(nested(path, owner) for path in writes for owner in change.part.owners)

    return [change for change in changes if not allowed(change)]


def explanation(callback: Callback, hook: str, changes: Sequence[Change]) -> str:
    """What a handler changed and did not declare, with the fix of each change."""
    lines = [f"{callback.name}.{hook} changed what {callback.name} does not declare `Write`:"]
    for change in changes:
        lines += [f"{change.part.what} was {change.how}.", *f"Fix: {fix(callback, change)}".splitlines()]
    return "\n  ".join(lines)


def fix(callback: Callback, change: Change) -> str:
    """How to allow a change, or what to do instead."""
    name = callback.name
    if change.part.path == RANDOM:
        return (
            f"{name} declares no Write outside of `cbstate`, so a training has to give the same result without it. "
            f"Draw from a generator of your own:\n    torch.Generator(), random.Random()"
        )
    if change.part.path == SETTINGS:
        return "restore it:\n    with torch.no_grad(): ..."
    declared = checked(callback.state_access, name)
    for owner in change.part.owners:
        if declared.get(owner) is Read:
            return f'change in {name}.state_access:\n    "{owner}": Write'
    owners = [owner for owner in change.part.owners if any(nested(owner, path) for path in declared)]
    return f'add to {name}.state_access:\n    "{(owners or change.part.owners)[0]}": Write'
