"""`infer_access`: what a callback has to declare, from what it does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from treadle.access import FIELDS, Permission, Read, Write, accesses, nested, overlaps
from treadle.callback import Callback
from treadle.errors import ProtectedException
from treadle.ordering.handlers import handlers
from treadle.testing.checks.declared.audit import Judge, path_to_write
from treadle.testing.comparison.record import Record
from treadle.testing.kinds import (
    ACCUMULATION,
    NOISY,
    OWN_PHASE,
    TWO_MODELS,
    USUAL,
    WITHOUT_VALIDATION,
    Kind,
    MakeLearner,
)
from treadle.testing.report import message_of
from treadle.testing.subject import Factory, Subject

KINDS = (USUAL, NOISY, WITHOUT_VALIDATION, ACCUMULATION, OWN_PHASE, TWO_MODELS)
FIX_PARTNERS = "Fix: pass the callbacks that it needs beside it:\n    infer_access(MyCallback, partners=[Recorder])"
Access = dict[str, type[Permission]]


@dataclass(frozen=True)
class InferredAccess:
    """What `infer_access` found. As a text it is ready to paste into the class.

    Args:
        state_access: The smallest declaration that suffices.
        not_called: The names of the handlers that no training called.
        not_tried: The kinds of learner that the callback does not work with, and why.
    """

    state_access: Mapping[str, type[Permission]]
    not_called: tuple[str, ...] = ()
    not_tried: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f'    "{path}": {permission.__name__},' for path, permission in self.state_access.items()]
        return "\n".join(
            [
                *(["state_access = {", *lines, "}"] if lines else ["state_access = {}"]),
                *(f"# {name} was not called: add what it uses." for name in self.not_called),
                *(f"# It does not work with: {kind}. {reason}" for kind, reason in self.not_tried.items()),
            ]
        )

    __repr__ = __str__


def infer_access(
    factory: Factory,
    *,
    partners: Iterable[Factory | str] = (),
    learner: MakeLearner | None = None,
    **settings: Any,
) -> InferredAccess:
    """The smallest `state_access` that suffices for a callback, from what it does. Print it, and paste it.

    The callback trains unprotected, whatever it declares: a toy learner, one with dropout, a batch norm and shuffled
    data, one without validation, with accumulated gradients, in phases of another author, with two models. Each path
    is as deep as the views let it be; it is a `Read` where nothing was written, also not in place.

    What a training does not reach cannot be found: handlers that were never called are named, and a branch that was
    not taken is not seen. So read the result before you paste it.

    Args:
        factory: Makes the callback: its class, or a function. It is called several times.
        partners: Classes, functions or entry points' names that make callbacks it needs beside it.
        learner: Makes the learner in place of the toy learners, called as `toy_learner` is.
        **settings: More arguments of the learner, such as `nbatches=100`.

    Raises:
        ArgumentTypeError: if an argument cannot be used.

    Example:
        >>> from treadle import Callback
        >>> from treadle.authoring import named_tensors
        >>> class Shrink(Callback):
        ...     "Shrink the gradients, and count how often."
        ...     def on_init(self, learner):
        ...         learner.cbstate.shrunk = 0
        ...     def on_update_begin(self, learner):
        ...         if learner.step.loss > 1:
        ...             for name, gradient in named_tensors(learner.step.grads):
        ...                 gradient.mul_(0.5)
        ...             learner.cbstate.shrunk += 1
        >>> print(infer_access(Shrink))
        state_access = {
            "step.grads": Write,
            "step.loss": Read,
            "cbstate.shrunk": Write,
        }
    """
    kinds = KINDS if learner is None else (USUAL, WITHOUT_VALIDATION, ACCUMULATION)
    subject = Subject(factory, partners, learner, settings, tool="infer_access")
    search = Search(subject, kinds)
    return search.result()


class Search:
    """Trains a callback with more and more declarations, until they suffice.

    Args:
        subject: The callback, as its author made it.
        kinds: The kinds of learner; it has to work with the first.

    Attributes:
        entries_written: Whether an entry of `cbstate` that no partner writes is taken as written. It is at first: who
            reads it may be who writes it, and an entry without a writer would be refused.
    """

    entries_written = True

    def __init__(self, subject: Subject, kinds: tuple[Kind, ...]) -> None:
        self.subject, self.kinds = subject, kinds
        self.access: Access = {}
        self.written: set[str] = set()
        self.called: set[str] = set()
        self.not_tried: dict[str, str] = {}
        partners = subject.make_partners()
        self.of_partners = {path for partner in partners for path in accesses(partner, Write)}

    def result(self) -> InferredAccess:
        """What suffices."""
        self.complete()
        self.entries_written = False
        only_read = [path for path in self.access if self.own_entry(path) and not self.was_written(path)]
        if only_read:
            self.access |= dict.fromkeys(only_read, Read)
            self.complete()
        for path in redundant(self.access):
            whole = dict(self.access)
            del self.access[path]
            if self.complete():
                self.access = whole
        silent = [name for name in handlers(self.subject.callback) if name not in self.called]
        return InferredAccess(dict(sorted(self.access.items(), key=place)), tuple(silent), dict(self.not_tried))

    def complete(self) -> bool:
        """Add what is missing in any kind of learner, and return whether anything was."""
        before = dict(self.access)
        for kind in self.kinds:
            if kind.name in self.not_tried:
                continue
            whole = dict(self.access)
            try:
                while sum(self.add(*line) for line in self.missing(kind)):
                    pass
            except Exception as error:
                if kind is USUAL:
                    error.add_note(f"Raised while infer_access trained it with {lines_of(self.access)}.")
                    if any(self.own_entry(path) and not self.was_written(path) for path in self.access):
                        error.add_note(FIX_PARTNERS)
                    raise
                self.not_tried[kind.name], self.access = message_of(error).splitlines()[0], whole
        return before != self.access

    def missing(self, kind: Kind) -> Iterator[tuple[str, type[Permission]]]:
        """What a training of a kind of learner needs and is not declared; more may be missing after it."""
        subject = Subject(self.make, self.subject.partners, self.subject.learner, self.subject.settings)
        record = subject.recorded(kind)
        self.called |= {call.hook.hook for call, _, _ in record.calls}
        self.written |= record.written
        if isinstance(record.error, ProtectedException):
            yield needed(record.error)
            return
        if record.error is not None:
            raise record.error
        yield from map(needed, record.refused)  # which a handler has caught
        yield from changed(record, dict(self.access))

    def make(self) -> Callback:
        """Make the callback, with what is found by now for its declaration."""
        return declaring(self.subject.make(), dict(self.access))

    def add(self, path: str, permission: type[Permission]) -> bool:
        """Add a line, and return whether it was missing."""
        if self.entries_written and self.own_entry(path):
            permission = Write
        if self.access.get(path) in (permission, Write):
            return False
        self.access[path] = permission
        return True

    def was_written(self, path: str) -> bool:
        """Whether a training wrote there, above it or below it."""
        return any(nested(path, written) for written in self.written)

    def own_entry(self, path: str) -> bool:
        """Whether it is an entry of `cbstate` that no partner writes."""
        return path.startswith("cbstate.") and not any(overlaps(path, other) for other in self.of_partners)


def declaring(callback: Callback, access: Access) -> Callback:
    """A callback with another declaration, whatever its class or `__init__` declares."""
    kind: Any = type(callback)
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    callback.__class__ = type(kind.__name__, (kind,), {**names, "state_access": property(lambda self: access)})
    return callback


def needed(error: ProtectedException) -> tuple[str, type[Permission]]:
    """The line that would have allowed a use.

    Raises:
        ProtectedException: if none would.
    """
    if error.path is None:
        raise error
    return error.path, Write if error.permission == "Write" else Read


def changed(record: Record, access: Access) -> Iterator[tuple[str, type[Permission]]]:
    """The lines that allow what handlers changed in place."""
    judge = Judge()
    for call, changes, part in record.calls:
        for change in judge.undeclared(call, changes, part):
            if change.part.owners:
                yield path_to_write(access, change), Write


def redundant(access: Access) -> list[str]:
    """The paths that may be needless, since there are others above or below them; the deepest first."""
    inside = [path for path in access if any(other != path and nested(path, other) for other in access)]
    return sorted(inside, key=lambda path: (-path.count("."), path))


def place(line: tuple[str, Any]) -> tuple[int, str]:
    """The place of a line: in the order of the learner's fields."""
    return FIELDS.index(line[0].partition(".")[0]), line[0]


def lines_of(access: Access) -> str:
    """A declaration in one line."""
    return f"state_access = {{{', '.join(f'{path!r}: {kind.__name__}' for path, kind in access.items())}}}"
