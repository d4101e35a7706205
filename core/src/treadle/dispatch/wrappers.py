"""Wrappers and overrides: what callbacks put around a hook, and instead of the core's part in it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from treadle.dispatch.call import Call, wrong_arguments
from treadle.dispatch.raised import Raised, leading, remove_first_frame
from treadle.errors import CallbackError, FitException
from treadle.events import Event, Hook

ENDED = object()


def with_callbacks(
    hook: type[Hook], calls: Sequence[Call], core: Callable[..., Any], follow: Sequence[Callable[[Any], None]] = ()
) -> Callable[..., Any]:
    """A function that does a hook: the wrappers around the overrides, the core's implementation last.

    The first wrapper is the outermost ring, and the first override that does not return None gives
    the result. As with pluggy, an exception is thrown into the wrappers from the inside out, and each may
    let it pass, raise another, or return a result instead. All of it is one function, and it takes its
    own frame out of an exception's traceback before passing it on, so that users see one of them.

    A cancel of an event is thrown into no wrapper: it is a request, and raised when all have run to their end.

    Args:
        calls: The wrappers and overrides, in their order.
        core: The core's own implementation of an operation, or for an event what runs its handlers.
        follow: What is called with the result.
    """
    wrappers = [call for call in calls if call.wrapper]
    overrides = [call for call in calls if not call.wrapper]
    count = len(hook.arguments[2:])
    requests = FitException if issubclass(hook, Event) else ()  # nothing is caught by the latter

    def run_with_callbacks(*passed: Any) -> Any:
        if len(passed) != count:
            raise wrong_arguments(hook, passed)
        entered: list[tuple[Call, Generator[Any, Any, Any]]] = []
        requested: list[Raised] = []
        running: Call | None = None
        result: Any = None
        error: BaseException | None = None
        thrown: BaseException | None = None
        try:
            for running in wrappers:
                try:
                    generator = running.function(*running.arguments(passed))
                    entered.append((running, generator))
                    if next(generator, ENDED) is ENDED:
                        raise wrong_yields(running, "nothing")
                except requests as cancel:
                    remove_first_frame(cancel)
                    running.annotate(cancel)
                    requested.append((running.callback, cancel))
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
        for call, generator in reversed(entered):
            thrown = error
            try:
                if thrown is None:
                    generator.send(result)
                else:
                    generator.throw(thrown)
                generator.close()
                raise wrong_yields(call, "more than once")
            except StopIteration as stop:
                if stop is not thrown:
                    result, error = stop.value, None
            except requests as cancel:
                remove_first_frame(cancel)
                call.annotate(cancel)
                requested.append((call.callback, cancel))
                error = None
            except BaseException as raised:
                remove_first_frame(raised)
                if not passed_on(raised, thrown):
                    call.annotate(raised)
                    error = raised
        if requested:
            error = leading([*requested, *([(None, error)] if error is not None else [])], calls[0])
        if error is not None:
            try:
                raise error
            finally:
                error = thrown = None  # its traceback holds this frame
                requested.clear()
        for function in follow:
            function(result)
        return result

    return run_with_callbacks


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
