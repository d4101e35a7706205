"""Wrappers and overrides: what callbacks put around a hook, and instead of the core's part in it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from typing import Any

from treadle.dispatch.call import Call, wrong_arguments
from treadle.dispatch.raised import Raised, leading, remove_first_frame
from treadle.errors import CallbackError, FitException
from treadle.events import Event, Hook

ENDED = object()

#: Where a wrapper stands: it has not come to its yield, what it wraps runs, that has returned, or it has ended.
BEFORE, INSIDE, AFTER, LEFT = "before", "inside", "after", "left"

#: A wrapper that is at its yield.
Entered = tuple[Call, Generator[Any, Any, Any]]


def with_callbacks(
    hook: type[Hook], calls: Sequence[Call], core: Callable[..., Any], follow: Sequence[Callable[[Any], None]] = ()
) -> Callable[..., Any]:
    """A function that does a hook: the wrappers around the overrides, the core's implementation last.

    What most operations are left with, overrides alone or one wrapper, is done at a third of the cost of the rest.

    Args:
        calls: The wrappers and overrides, in their order.
        core: The core's own implementation of an operation, or for an event what runs its handlers.
        follow: What is called with the result.
    """
    wrappers = [call for call in calls if call.wrapper]
    overrides = [call for call in calls if not call.wrapper]
    if not wrappers:
        return overridden(hook, overrides, core, follow)
    if len(calls) == 1 and not issubclass(hook, Event):
        return in_one_ring(hook, wrappers[0], core, follow)
    return in_rings(hook, wrappers, overrides, core, follow)


def overridden(
    hook: type[Hook], overrides: Sequence[Call], core: Callable[..., Any], follow: Sequence[Callable[[Any], None]]
) -> Callable[..., Any]:
    """A function that does an operation by the first override that does not return None, or else as the core does."""
    count = len(hook.arguments[2:])
    if len(overrides) == 1 and not count and len(follow) == 1:
        return overridden_once(overrides[0], core, follow[0])

    def run_overrides(*passed: Any) -> Any:
        if len(passed) != count:
            raise wrong_arguments(hook, passed)
        for call in overrides:
            try:
                result = call.function(*(call.arguments(passed) if passed else call.args))
            except BaseException as error:
                call.annotate(error)
                raise
            if result is not None:
                break
        else:
            result = core(*passed)
        for function in follow:
            function(result)
        return result

    return run_overrides


def overridden_once(call: Call, core: Callable[..., Any], check: Callable[[Any], None]) -> Callable[..., Any]:
    """`overridden` for one override of an operation without arguments, as `accumulate` has it in every step."""
    override = functools.partial(call.function, *call.args)

    def run_override() -> Any:
        try:
            result = override()
        except BaseException as error:
            call.annotate(error)
            raise
        if result is None:
            result = core()
        check(result)
        return result

    return run_override


def in_one_ring(
    hook: type[Hook], call: Call, core: Callable[..., Any], follow: Sequence[Callable[[Any], None]]
) -> Callable[..., Any]:
    """A function that does an operation inside of one wrapper; as `in_rings`, where the exceptions are explained."""
    count = len(hook.arguments[2:])

    def run_in_ring(*passed: Any) -> Any:
        if len(passed) != count:
            raise wrong_arguments(hook, passed)
        generator: Any = None
        result: Any = None
        error: BaseException | None = None
        place = BEFORE
        try:
            try:
                generator = call.function(*(call.arguments(passed) if passed else call.args))
                if next(generator, ENDED) is ENDED:
                    raise wrong_yields(call, "nothing")
                place = INSIDE
                result = core(*passed)
                place = AFTER
                generator.send(result)
                raise wrong_yields(call, "more than once")
            except BaseException as raised:
                if place is AFTER and isinstance(raised, StopIteration):
                    result, place = raised.value, LEFT
                else:
                    remove_first_frame(raised)
                    error = raised
            if place is INSIDE:
                result, error = resume(call, generator, None, error)
                place = LEFT
            elif error is not None:
                error = failed_outside(call, generator, error)
        finally:
            if place is not LEFT and generator is not None:
                close([(call, generator)])
        if error is not None:
            try:
                raise error
            finally:
                error = None  # its traceback holds this frame
        for function in follow:
            function(result)
        return result

    return run_in_ring


def in_rings(
    hook: type[Hook],
    wrappers: Sequence[Call],
    overrides: Sequence[Call],
    core: Callable[..., Any],
    follow: Sequence[Callable[[Any], None]],
) -> Callable[..., Any]:
    """A function that does a hook inside of several wrappers, or an event inside of one.

    The first wrapper is the outermost ring, and the first override that does not return None gives
    the result. As with pluggy, an exception is thrown into the wrappers from the inside out, and each may
    let it pass, raise another, or return a result instead. Frames are taken out of an exception's
    traceback before it is passed on, so that users see one of them. A wrapper that was entered is left
    on every way out, an interrupt at any line included.

    A cancel of an event is thrown into no wrapper: it is a request, and raised when all have run to their end.
    """
    calls = [*wrappers, *overrides]
    count = len(hook.arguments[2:])
    requests = FitException if issubclass(hook, Event) else ()  # nothing is caught by the latter

    def run_with_callbacks(*passed: Any) -> Any:
        if len(passed) != count:
            raise wrong_arguments(hook, passed)
        entered: list[Entered] = []
        requested: list[Raised] = []
        running: Call | None = None
        result: Any = None
        error: BaseException | None = None
        try:
            try:
                for running in wrappers:
                    generator = running.function(*running.arguments(passed))
                    entered.append((running, generator))
                    error = start(running, generator)
                    if isinstance(error, requests):
                        requested.append((running.callback, error))
                        error = None
                    if error is not None:
                        break
                else:
                    for running in overrides:
                        result = running.function(*running.arguments(passed))
                        if result is not None:
                            break
                    else:
                        running = None
                        result = core(*passed)
            except requests as cancel:
                remove_first_frame(cancel)
                requested.append((cancel.callback, cancel))
            except BaseException as raised:
                remove_first_frame(raised)
                error = raised
                if running is not None:
                    running.annotate(error)
            while entered:
                result, error = resume(*entered[-1], result, error)
                if isinstance(error, requests):
                    requested.append((entered[-1][0].callback, error))
                    error = None
                entered.pop()
        finally:
            if entered:
                close(entered)
        if requested:
            error = leading([*requested, *([(None, error)] if error is not None else [])], calls[0])
        if error is not None:
            try:
                raise error
            finally:
                error = None  # its traceback holds this frame
                requested.clear()
        for function in follow:
            function(result)
        return result

    return run_with_callbacks


# What stands in a function of its own is caught there, and what an interrupt keeps from being caught there, by the
# function that calls it: Python catches nothing that is raised at the line of a `try` inside of another.


def start(call: Call, generator: Generator[Any, Any, Any]) -> BaseException | None:
    """Run a wrapper up to its yield; returns what it raised."""
    try:
        if next(generator, ENDED) is ENDED:
            raise wrong_yields(call, "nothing")
    except BaseException as raised:
        remove_first_frame(raised)
        call.annotate(raised)
        return raised
    return None


def resume(
    call: Call, generator: Generator[Any, Any, Any], result: Any, error: BaseException | None
) -> tuple[Any, BaseException | None]:
    """Run a wrapper from its yield to its end, with the result or the error of what it wraps; returns its own."""
    try:
        if error is None:
            generator.send(result)
        else:
            generator.throw(error)
        generator.close()
        raise wrong_yields(call, "more than once")
    except StopIteration as stop:
        return (result, error) if stop is error else (stop.value, None)
    except BaseException as raised:
        remove_first_frame(raised)
        generator.close()  # an interrupt may have come before it went on
        if passed_on(raised, error):
            return result, error
        call.annotate(raised)
        return result, raised


def failed_outside(call: Call, generator: Generator[Any, Any, Any] | None, error: BaseException) -> BaseException:
    """Close a wrapper that failed before or after what it wraps, or was interrupted there; returns what is raised."""
    try:
        if generator is not None:
            generator.close()
    except BaseException as raised:
        remove_first_frame(raised)
        error = raised
    call.annotate(error)
    return error


def close(entered: list[Entered]) -> None:
    """Close the wrappers that an interrupt kept from going on, the innermost first."""
    try:
        while entered:
            entered[-1][1].close()
            entered.pop()
    finally:
        while entered:  # again, for an interrupt may have come while it was done
            entered[-1][1].close()
            entered.pop()


def passed_on(raised: BaseException, thrown: BaseException | None) -> bool:
    """Whether a wrapper raised what was thrown into it; of a StopIteration, Python makes a RuntimeError there."""
    if isinstance(thrown, StopIteration):
        return isinstance(raised, RuntimeError) and raised.__cause__ is thrown
    return raised is thrown


def wrong_yields(call: Call, times: str) -> CallbackError:
    """The error for a wrapper that does not yield once."""
    return CallbackError(
        f"{call.callback.name}.{call.hook.hook} is a wrapper and yields {times}.\n"
        f"Fix: yield once; what it wraps runs there:\n"
        f"    result = yield\n    return result"
    )
