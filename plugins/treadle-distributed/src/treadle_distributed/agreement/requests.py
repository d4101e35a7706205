"""Requests: what was raised on a process, as others understand it, and what takes effect of several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from treadle import (
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CancelUpdateException,
    FitException,
)
from treadle.errors import EndOfData, TreadleError

#: The cancels, from the narrowest to the widest: a request is wider by its place here, and an error is the widest.
CANCELS: tuple[type[FitException], ...] = (
    EndOfData,
    CancelUpdateException,
    CancelStepException,
    CancelEpochException,
    CancelFittingException,
)
NOTHING, END_OF_DATA, FINAL, ERROR = 0, 1, len(CANCELS) + 1, len(CANCELS) + 2


class ProcessError(TreadleError, RuntimeError):
    """Another process of the run has ended by an error, and so this one does.

    Attributes:
        rank: The number of the other process, from 0; None where it is not known.
    """

    def __init__(self, message: str, rank: int | None = None) -> None:
        super().__init__(message)
        self.rank = rank


class ApartError(ProcessError):
    """The processes of a run have come to different places, or would call different callbacks."""


@dataclass(frozen=True)
class Request:
    """What a process asks for, in plain values.

    Args:
        rank: The process.
        width: How much it ends.
        kind: The name of the class of what was raised.
        text: Its message.
        notes: What was noted on it, such as who raised it.
        state: The name of its class and its `state_dict`, in JSON; empty where it has none that is plain.
    """

    rank: int
    width: int
    kind: str = ""
    text: str = ""
    notes: tuple[str, ...] = ()
    state: str = ""

    @classmethod
    def of(cls, rank: int, raised: BaseException | None) -> Request:
        """The request of a process.

        Example:
            >>> Request.of(1, CancelStepException("a spike"))
            Request(rank=1, width=3, kind='CancelStepException', text='a spike', notes=(), state='')
        """
        if raised is None:
            return cls(rank, NOTHING)
        notes = tuple(map(str, getattr(raised, "__notes__", ())))
        return cls(rank, width_of(raised), type(raised).__name__, str(raised), notes, state_of(raised))

    def raised_here(self) -> BaseException:
        """What ends this process as it ends that of the request."""
        if self.width == ERROR:
            quoted = "\n".join([f"{self.kind}: {self.text}" if self.text else self.kind, *self.notes])
            return ProcessError(
                f"Process {self.rank} ended by an error, and with it all others:\n    "
                + quoted.replace("\n", "\n    ")
                + f"\nFix: look for its traceback in the output of process {self.rank}.",
                self.rank,
            )
        cancel: FitException | None = equal_cancel(self.state)
        if cancel is None and self.width == FINAL:
            cancel = CancelFittingException(self.text)
            cancel.final = True
        elif cancel is None:
            cancel = CANCELS[self.width - 1](self.text)
        cancel.add_note(f"Requested by process {self.rank}, as a {self.kind}.")
        for note in self.notes:
            cancel.add_note(note)
        return cancel


def state_of(raised: BaseException) -> str:
    """The class and the state of a cancel of the fit, in JSON; empty for anything else, and where they are not plain.

    Example:
        >>> state_of(CancelFittingException("good enough"))
        '["treadle.errors:CancelFittingException", {"args": ["good enough"], "attributes": {}}]'
    """
    if not isinstance(raised, CancelFittingException):
        return ""
    try:
        return json.dumps([key_of(type(raised)), raised.state_dict()])
    except Exception:  # whatever it is, the cancel has to take effect
        return ""


def equal_cancel(state: str) -> CancelFittingException | None:
    """The cancel of which `state_of` was taken; None where this process does not know its class. None is imported."""
    if not state:
        return None
    key, held = json.loads(state)
    for cls in classes(CancelFittingException):
        if key_of(cls) == key:
            cancel: CancelFittingException = BaseException.__new__(cls)
            try:
                cancel.load_state_dict(held)
                str(cancel)
            except Exception:
                return None
            return cancel
    return None


def classes(cls: type[CancelFittingException]) -> Iterator[type[CancelFittingException]]:
    """A class, and all that inherit from it."""
    yield cls
    for subclass in cls.__subclasses__():
        yield from classes(subclass)


def key_of(cls: type) -> str:
    """The name of a class, the same in every process."""
    return f"{cls.__module__}:{cls.__qualname__}"


def width_of(raised: BaseException | None) -> int:
    """How much a request ends.

    Example:
        >>> width_of(None) < width_of(EndOfData()) < width_of(CancelStepException()) < width_of(KeyboardInterrupt())
        True
    """
    if raised is None:
        return NOTHING
    if not isinstance(raised, FitException):
        return ERROR
    if isinstance(raised, CancelFittingException) and raised.final:
        return FINAL
    return next((i for i, kind in enumerate(CANCELS, 1) if isinstance(raised, kind)), ERROR)


def effect(own: BaseException | None, requests: Sequence[Request]) -> BaseException:
    """What takes effect on a process: the widest request, and of equally wide ones its own or else the first.

    Args:
        own: What was raised here, or None.
        requests: Those of all processes, by rank; at least one asks for something.
    """
    widest = max(requests, key=lambda request: request.width)
    return own if own is not None and width_of(own) == widest.width else widest.raised_here()
