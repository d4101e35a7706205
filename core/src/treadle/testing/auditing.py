"""`audit`: hold every handler of a real training to what its callback declares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from treadle.access import Read, Write, checked, overlaps
from treadle.callback import Callback
from treadle.dispatch.runners import Call
from treadle.errors import FitException
from treadle.operations import Epoch, Forward, Loss, Step
from treadle.testing.changes import RANDOM, SETTINGS, Change, Moment
from treadle.testing.errors import AuditError
from treadle.testing.recording import Record
from treadle.testing.watching import watched

if TYPE_CHECKING:
    from treadle.learner import Learner


@contextmanager
def audit(learner: Learner) -> Iterator[None]:
    """Watch every handler while a learner trains, and raise where one changes what it does not declare.

    The views already refuse every access that was not declared. What they cannot see is a tensor that
    was declared `Read` and is changed in place, a mode that is set on a model, an optimizer's setting:
    that is found here, by comparing the learner's whole state before and after each handler. A
    callback that declares no `Write` outside of `cbstate` must also leave the random generators alone.

    An audit is slow, and it copies the state: use it for a few steps. Handlers run one after the
    other, whatever the learner's runner. Answers for `epoch` and `step`, inside of which everybody's
    handlers run, are not watched; answers for `forward` and `loss` may draw random numbers.

    Args:
        learner: The learner.

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
        treadle.testing.errors.AuditError: Halve.on_step_end did what Halve does not declare:
          `params.weight` was changed in place. Change in Halve.state_access: "params": Write
        ...
    """
    watch = Watch()
    with watched(learner, watch.raising):
        yield


class Watch:
    """Compares a learner's state before and after handlers, and judges what changed.

    Args:
        records: For callbacks whose use of their declarations is to be noted. Default: none.

    Attributes:
        breaches: For each handler, by callback and name, what it changed and was not allowed to.
    """

    def __init__(self, records: dict[Callback, Record] | None = None) -> None:
        self.records = records or {}
        self.breaches: dict[tuple[Callback, str], dict[str, Change]] = {}

    def noting(self, call: Call) -> Observation:
        """Note what a part of a handler changes."""
        return Observation(self, call, raises=False)

    def raising(self, call: Call) -> Observation:
        """Raise if a part of a handler changes what it must not."""
        return Observation(self, call, raises=True)

    def note(self, call: Call, changes: Sequence[Change]) -> None:
        """Judge what a handler changed."""
        record = self.records.get(call.callback)
        for change in changes:
            if not allowed(call, change):
                found = self.breaches.setdefault((call.callback, call.hook.hook), {})
                found.setdefault(change.part.what, change)
            elif record is not None:
                record.written.update(change.part.owners)


class Observation(AbstractContextManager[None]):
    """The context of a handler, or of a part of a wrapper, whose changes are noted.

    Args:
        watch: What they are noted for.
        call: The handler.
        raises: Whether a change that is not allowed is an error at once.
    """

    def __init__(self, watch: Watch, call: Call, *, raises: bool) -> None:
        self._watch, self._call, self._raises = watch, call, raises
        self._before: Moment | None = None

    def __enter__(self) -> None:
        call = self._call
        if (record := self._watch.records.get(call.callback)) is not None:
            record.ran.add(call.hook.hook)
        if call.wrapper or call.hook not in (Epoch, Step):  # inside of whose answers everybody's handlers run
            self._before = Moment(call.learner)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        call = self._call
        if self._before is None or not (error is None or isinstance(error, (FitException, StopIteration))):
            return
        self._watch.note(call, self._before.changes(Moment(call.learner)))
        if self._raises and (changes := self._watch.breaches.get((call.callback, call.hook.hook))):
            raise breach_of(call.callback, call.hook.hook, list(changes.values())) from None


def allowed(call: Call, change: Change) -> bool:
    """Whether a handler may change a part of the state."""
    written = {path for path, mode in checked(call.callback.state_access, call.callback.name).items() if mode is Write}
    answers = not call.wrapper and call.hook in (Forward, Loss)
    if change.part.path == RANDOM:
        return answers or any(not overlaps(path, "cbstate") for path in written)
    if change.part.path == SETTINGS:
        return call.wrapper  # which puts them back when the operation is done
    if answers and change.part.what.startswith("the buffer "):
        return True
    return any(overlaps(path, owner) for path in written for owner in change.part.owners)


def breach_of(callback: Callback, hook: str, changes: Sequence[Change]) -> AuditError:
    """The error for what a handler changed and was not allowed to."""
    lines = "\n".join(f"  {change.part.what} was {change.how}. {mend(callback, change)}" for change in changes)
    return AuditError(f"{callback.name}.{hook} did what {callback.name} does not declare:\n{lines}", changes)


def mend(callback: Callback, change: Change) -> str:
    """The line that allows a change, or what to do instead."""
    name = callback.name
    if change.part.path == RANDOM:
        return (
            f"{name} declares no Write outside of `cbstate`, so it only watches, and a training must give the same "
            f"with and without it. Draw from a generator of its own: torch.Generator(), random.Random()."
        )
    if change.part.path == SETTINGS:
        return "Put it back: with torch.no_grad(): ..."
    declared = checked(callback.state_access, name)
    for owner in change.part.owners:
        if declared.get(owner) is Read:
            return f'Change in {name}.state_access: "{owner}": Write'
    owners = [owner for owner in change.part.owners if any(overlaps(owner, path) for path in declared)]
    return f'Add to {name}.state_access: "{(owners or change.part.owners)[0]}": Write'
