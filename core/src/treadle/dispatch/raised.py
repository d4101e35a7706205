"""What the handlers of an event raised, and what of it takes effect.

A cancel is a request: the other handlers of the event still run, then the widest takes effect, and of
equally wide ones the first. Of those that end the fit, one that is final ends it for good and is wider. An error goes
before all cancels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from treadle.callback import Callback
from treadle.dispatch.call import Call
from treadle.errors import (
    CancelEpochException,
    CancelFittingException,
    CancelStepException,
    CancelUpdateException,
    FitException,
)

#: The cancels by how much they end, the widest first.
WIDTHS = (CancelFittingException, CancelEpochException, CancelStepException, CancelUpdateException)

#: What was raised, and by which callback.
Raised = tuple[Callback | None, BaseException]


def leading(raised: Sequence[Raised], call: Call) -> BaseException:
    """What takes effect of what was raised, in order, in one dispatch; with a note for each of the others.

    Args:
        call: Any of the dispatch.
    """
    (_, exception), *rest = sorted(raised, key=lambda pair: width(pair[1], call))
    known = getattr(exception, "__notes__", ())
    for callback, other in rest:
        name = callback.name if callback is not None else "a handler"
        note = f"Beside it, {name} raised {other!r} in {call.hook.hook}."
        if note not in known:  # the same object may be raised again and again
            exception.add_note(note)
    return exception


def failed(raised: Iterable[Raised]) -> bool:
    """Whether there is an error among what was raised."""
    return any(not isinstance(exception, FitException) for _, exception in raised)


def width(exception: BaseException, call: Call) -> int:
    """How much an exception ends, the most first: an error; a cancel of the fit, for good or not; of the epoch, ...

    A cancel of what is not under way is an error, which the loop makes of it; it is not hidden by another cancel.
    """
    if not isinstance(exception, FitException):
        return 0
    position = call.learner.position
    under_way = {
        CancelEpochException: call.hook.phased,
        CancelStepException: position.stepping,
        CancelUpdateException: position.updates.open,
    }
    if any(isinstance(exception, kind) and not unit for kind, unit in under_way.items()):
        return 1
    if isinstance(exception, CancelFittingException) and exception.final:
        return 2
    return next((i for i, kind in enumerate(WIDTHS, 3) if isinstance(exception, kind)), len(WIDTHS) + 3)


def exception_of(call: Call) -> BaseException | None:
    """Make a call, and return what it raised."""
    try:
        call.function(*call.args)  # as call() does, without a frame of its own
    except BaseException as exception:
        remove_first_frame(exception)
        return exception
    return None


def remove_first_frame(error: BaseException) -> None:
    """Take the frame that caught an exception out of its traceback; it is in there again when it is raised again."""
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
