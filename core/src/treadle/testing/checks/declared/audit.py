"""Does a handler change what its callback does not declare `Write`? The check, and `audit` for a real training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from treadle.access import Read, Write, accesses, checked, nested, overlaps
from treadle.arguments import instance_of
from treadle.callback import Callback, unwrap
from treadle.dispatch.call import Call
from treadle.errors import TreadleError
from treadle.events import FitBegin, FitEnd
from treadle.learner import Learner
from treadle.operations import Forward, Loss
from treadle.ordering.handlers import handles
from treadle.testing.comparison.attributes import Held
from treadle.testing.comparison.changes import RANDOM, SETTINGS, Change, Part, difference
from treadle.testing.comparison.frozen import attributes
from treadle.testing.comparison.record import AROUND, recorded
from treadle.testing.comparison.settings import FIXES
from treadle.testing.report import Checked, Finding
from treadle.testing.subject import Subject


def check(subject: Subject) -> Checked:
    """What it does not declare `Write` stays as it was.

    How: Parameters, buffers, modes, hooks and attributes of modules, gradients, the optimizer, the step's state, the
        data's tensors, `cbstate`, other callbacks' attributes, the random generators and torch's settings are compared
        before and after each handler, also for changes in place.
    Guarantee: 2, declarations are true.
    Message: ... changed what ... does not declare `Write`:
    """
    found: dict[str, dict[str, Change]] = {}
    judge = Judge()
    for call, changes, part in subject.full_record.calls:
        for change in judge.undeclared(call, changes, part):
            found.setdefault(call.hook.hook, {}).setdefault(change.part.what, change)
    if found:
        texts = (explanation(subject.callback, hook, list(changes.values())) for hook, changes in found.items())
        raise Finding("\n".join(texts))
    return Checked(len(subject.full_record.calls), "handler calls")


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
        treadle.testing.checks.declared.audit.AuditError: Halve.on_step_end changed what Halve does not declare `Write`:
          `params.weight` was changed in place.
          Fix: change in Halve.state_access:
              "params": Write
        ...
    """
    learner = instance_of(learner, "learner", Learner, "with audit(learner): learner.fit(1)")
    judge = Judge()

    def note(call: Call, changes: Sequence[Change], part: str) -> None:
        if found := judge.undeclared(call, changes, part):
            raise AuditError(explanation(call.callback, call.hook.hook, found), found) from None

    with recorded(learner, note):
        yield


class Judge:
    """Says which changes of a handler its callback may not make.

    A setting of the process, or a module's hooks, may be changed inside of a wrapper that puts them back, and from
    `on_fit_begin` to an `on_fit_end` that does.
    """

    def __init__(self) -> None:
        self._until_the_end: dict[tuple[Callback, str], Part | None] = {}  # the settings as they were

    def undeclared(self, call: Call, changes: Sequence[Change], part: str) -> list[Change]:
        """The changes that a handler may not make.

        Args:
            part: Which part of it made them; see `treadle.testing.comparison.record`.
        """
        if part == AROUND:
            return [change for change in changes if change.part.lent and not self._may_write(call, change)]
        if call.hook is FitEnd:
            changes = self._left(call.callback, changes)
        elif call.hook is FitBegin and handles(call.callback, FitEnd):
            for change in changes:
                if change.part.lent:
                    self._until_the_end[call.callback, change.part.what] = change.before
        found = [change for change in changes if not self._allowed(call, change)]
        in_step = any(change.part.path.startswith("step.") for change in found)  # where a batch of the data is
        return [change for change in found if not (in_step and is_data(change))]

    def _left(self, callback: Callback, changes: Sequence[Change]) -> list[Change]:
        """The changes of `on_fit_end`, without what it puts back, and with what it leaves as `on_fit_begin` set it."""
        left = []
        for change in changes:
            before = self._until_the_end.pop((callback, change.part.what), None)
            if before is None or difference(before.state, change.part.state, strict=False) is not None:
                left.append(change)
        forgotten = [self._until_the_end.pop(key) for key in [*self._until_the_end] if key[0] is callback]
        return left + [Change(part, "changed in on_fit_begin and not put back", part) for part in forgotten if part]

    def _allowed(self, call: Call, change: Change) -> bool:
        callback = change.part.callback
        overrides = not call.wrapper and call.hook in (Forward, Loss)
        if change.part.path == RANDOM:
            writes = accesses(call.callback, Write)
            return overrides or any(not overlaps(path, "cbstate") for path in writes)
        if change.part.lent and (call.wrapper or (call.callback, change.part.what) in self._until_the_end):
            return True
        if callback is not None:
            return unwrap(callback) is unwrap(call.callback) or shared(call.callback, change.part.state)
        if overrides and change.part.by_forward:
            return True
        return self._may_write(call, change)

    def _may_write(self, call: Call, change: Change) -> bool:
        writes = accesses(call.callback, Write)
        return any(nested(path, owner) for path in writes for owner in change.part.owners)


def is_data(change: Change) -> bool:
    """Whether a tensor of the data was changed, which stands in a batch perhaps."""
    return change.part.path.startswith("data.") and change.part.what.startswith("a tensor of ")


def shared(callback: Callback, attribute: Held) -> bool:
    """Whether a callback holds the same object, and was so given it."""
    return any(value is attribute.value for value in attributes(unwrap(callback)).values())


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
        return FIXES[change.part.what]
    if change.part.callback is not None:
        return (
            f"give {change.part.callback.name} a method for it that it calls itself, or pass the value in `cbstate`, "
            f'which both declare:\n    learner.cbstate.value = ...  # "cbstate.value": Write'
        )
    if is_data(change):
        return (
            "a batch may hold the tensors of the data set, and in the next epoch they come again; make new ones:\n"
            "    learner.step.xs = 2 * learner.step.xs"
        )
    declared = checked(callback.state_access, name)
    path = path_to_write(declared, change)
    return f'{"change in" if path in declared else "add to"} {name}.state_access:\n    "{path}": Write'


def path_to_write(declared: Mapping[str, object], change: Change) -> str:
    """The path whose `Write` allows a change: the most specific that is declared, or is inside of what is.

    Of those inside, one that is declared `Read` comes first if it is around the most specific: it becomes the `Write`.
    """
    owners = change.part.owners
    near = [owner for owner in owners if any(nested(owner, path) for path in declared)] or list(owners)
    return next((owner for owner in near if declared.get(owner) is Read and nested(owner, near[0])), near[0])
