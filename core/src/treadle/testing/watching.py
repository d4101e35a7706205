"""How every call of a handler is run inside of a context."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from treadle.callback import Callback
from treadle.dispatch.dispatcher import Dispatcher, Handle
from treadle.dispatch.runners import Call, CallbackRunner, LinearRunner, Run
from treadle.events import Hook
from treadle.testing.recording import Record, RecordingView

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.phases import Phase

Watching = Callable[[Call], AbstractContextManager[None]]


@contextmanager
def watched(learner: Learner, watching: Watching, records: dict[Callback, Record] | None = None) -> Iterator[None]:
    """Run every handler of a learner inside of a context.

    Args:
        learner: The learner.
        watching: Makes the context of a call; a wrapper's two parts are one call each.
        records: For callbacks whose accesses are to be noted. Default: none.
    """
    own = WatchedCalls(learner, watching, records or {})

    def handle(phase: Phase | None) -> Handle:
        nonlocal own
        if own.callbacks is not learner.callbacks:
            own = WatchedCalls(learner, watching, records or {})
        learner.current = own.handle(phase)
        return learner.current

    runner, learner.runner = learner.runner, LinearRunner()
    vars(learner)["handle"] = handle
    handle(None)
    try:
        yield
    finally:
        del vars(learner)["handle"]
        learner.runner = runner
        learner.current = learner._dispatcher.handle(None)


class WatchedCalls(Dispatcher):
    """Makes the calls of a learner, each inside of a context; see `watched`."""

    def __init__(self, learner: Learner, watching: Watching, records: dict[Callback, Record]) -> None:
        super().__init__(learner, learner.callbacks)
        self.callbacks, self._watching, self._records = learner.callbacks, watching, records

    def calls(self, hook: type[Hook], phase: Phase | None) -> list[Call]:
        return [watched_call(call, self._watching, self._records) for call in super().calls(hook, phase)]


class WatchedInit(CallbackRunner):
    """A runner for a learner that is being built, so that `on_init` is watched as well; see `watched`.

    Args:
        watching: Makes the context of a call.
        records: For callbacks whose accesses are to be noted.
    """

    def __init__(self, watching: Watching, records: dict[Callback, Record]) -> None:
        self._watching, self._records = watching, records

    def compile(self, calls: Sequence[Call]) -> Run:
        return LinearRunner().compile([watched_call(call, self._watching, self._records) for call in calls])


def watched_call(call: Call, watching: Watching, records: dict[Callback, Record]) -> Call:
    """The same call inside of a context, its accesses noted if there is a record for its callback."""
    function: Any = call.function
    record = records.get(call.callback)
    if record is not None:
        call.args = tuple(
            RecordingView(value, record) if name == "learner" else value
            for name, value in zip(call.names, call.args, strict=True)
        )

    def plain(*args: Any) -> Any:
        with watching(call):
            return function(*args)

    def around(*args: Any) -> Generator[Any, Any, Any]:
        inner = function(*args)
        try:
            with watching(call):
                given = next(inner)
            while True:
                try:
                    result = yield given
                except BaseException as error:
                    with watching(call):
                        given = inner.throw(error)
                else:
                    with watching(call):
                        given = inner.send(result)
        except StopIteration as stop:
            return stop.value

    call.function = around if call.wrapper else plain
    return call
