"""Observers: callbacks whose errors are reported and end no fit; `Learner(..., observer_errors="warn")`.

Who is one follows from the declarations; see `treadle.ordering.observers`. A cancel is no error, an error that another
callback raised, in a loop inside of the handler, is not the observer's, and an interrupt goes through.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from treadle.dispatch.call import RAISED_BY, Call, notes_of
from treadle.dispatch.raised import remove_first_frame
from treadle.errors import FitException
from treadle.events import Event
from treadle.loop.progress import ObserverErrors, ReportedError

#: After this many failures an observer is left out of the rest of the fit.
MOST = 10


def spare_observers(calls: Sequence[Call]) -> None:
    """Let the calls of observers report their errors instead of raising them."""
    for call in calls:
        if call.callback not in call.learner.ordering.no_observers:
            call.function = spared(call)


def spared(call: Call) -> Callable[..., None]:
    """A call's function, which reports its errors, and does nothing once it has failed too often."""
    function, callback, position = call.function, call.callback, call.learner.position
    always = issubclass(call.hook, Event) and call.hook.always  # `FitEnd` lets it close what it has opened

    def run(*args: Any) -> None:
        errors = position.observer_errors
        if errors.left_out and callback in errors.left_out and not always:
            return
        try:
            function(*args)
            return
        except FitException:
            raise
        except Exception as raised:
            remove_first_frame(raised)
            error = raised
        try:
            if raised_by_another(call, error):
                raise error
            detach(error, sys.exception())
            report(call, errors, error)
        finally:
            del error  # its traceback holds this frame

    return run


def raised_by_another(call: Call, error: Exception) -> bool:
    """Whether an error was raised by another callback, in a loop inside of a handler."""
    notes = notes_of(error)
    return bool(notes) and not notes[0].startswith(f"{RAISED_BY}{call.owner} in ")


def report(call: Call, errors: ObserverErrors, error: Exception) -> None:
    """Report an error: the first one of a handler in full; then they are counted, until the callback is left out."""
    from loguru import logger  # needed rarely, and loaded then

    callback, key = call.callback, (call.callback, call.hook.hook)
    if key in errors.reports:
        errors.reports[key].count += 1
    else:
        call.annotate(error)
        logger.warning(
            f"{call.owner} failed in {call.place}. It only watches, so the training goes on.{missed(call)}\n"
            f"{''.join(traceback.format_exception(error)).rstrip()}"
        )
        errors.reports[key] = ReportedError(callback, call.hook.hook, error)
    without_frames(error)
    reports = [report for report in errors.reports.values() if report.callback is callback]
    count = sum(report.count for report in reports)
    if count >= MOST and callback not in errors.left_out:
        errors.left_out.add(callback)
        for one in reports:
            one.left_out = True
        logger.warning(
            f"{call.owner} failed {count} times, and is left out of the rest of the fit. The last error was in "
            f"{call.place}: {shown(error)}{missed(call, 'From now on ')}"
        )


def missed(call: Call, when: str = "") -> str:
    """Who misses what an observer would have written, a line for each path; nothing if nobody reads it."""
    lines = []
    for path, readers in call.learner.ordering.readers(call.callback).items():
        names = [reader.name for reader in readers]
        listed = f"{', '.join(names[:-1])} and {names[-1]}" if names[1:] else names[0]
        lines.append(
            f"\n{when}{listed} miss{'' if names[1:] else 'es'} what it would have written to `{path}`, as no other "
            f"callback writes it."
        )
    return "".join(lines)


def shown(error: Exception) -> str:
    """An error in one line."""
    return "".join(traceback.format_exception_only(error)).partition("\n")[0]


def detach(error: BaseException, outer: BaseException | None) -> None:
    """Take what was being handled around the handler out of the chain of an error: it has its own way to go."""
    for one in chain(error):
        if one.__context__ is outer:
            one.__context__ = None


def without_frames(error: BaseException) -> None:
    """Take the tracebacks out of an error, whose frames would keep the tensors of the step."""
    for one in chain(error):
        one.__traceback__ = None


def chain(error: BaseException) -> list[BaseException]:
    """An error, and all that are said to have led to it."""
    found: list[BaseException] = [error]
    for one in found:
        group = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        new = [other for other in (one.__cause__, one.__context__, *group) if other is not None]
        found += [other for other in new if not any(other is known for known in found)]
    return found
