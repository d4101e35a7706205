"""What handlers do in a training: the paths that they use, and what of the learner's state they change."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from operator import contains, delitem, getitem, setitem
from typing import TYPE_CHECKING, Any

from treadle.access import Permission, checked
from treadle.callback import Callback
from treadle.dispatch.call import Call
from treadle.dispatch.dispatcher import Dispatcher, Handle
from treadle.dispatch.runners import CallbackRunner, LinearRunner, Run
from treadle.errors import FitException, ProtectedException
from treadle.events import Hook
from treadle.operations import Backward, Epoch, Step, Update
from treadle.state.views import View
from treadle.testing.comparison.changes import Change, Moment
from treadle.testing.comparison.numbers_taken import NumbersTaken

if TYPE_CHECKING:
    from treadle.learner import Learner
    from treadle.phases import Phase

#: Which part of a handler made the changes: all of it; or of a wrapper what comes before its `yield`, what comes after
#: it, and both together, what is inside included.
ALL, BEFORE, AFTER, AROUND = "all", "before", "after", "around"
Note = Callable[[Call, Sequence[Change], str], None]


class Record:
    """What a callback did in a training.

    Attributes:
        declared: Its `state_access`.
        read: The paths that it looked at.
        written: The paths that it set, or of which something was changed while it ran.
        calls: The calls of its handlers, a wrapper's two parts one each, with what they changed and in which part.
        numbers: Where it took a number from a tensor in steps of training: the handler, and the number of the step.
        refused: What its view refused, whether the handler caught that or not.
        steps: The number of training steps that ended.
        error: The exception that ended the training, or None.
    """

    def __init__(self, callback: Callback) -> None:
        self.callback = callback
        self.declared: dict[str, type[Permission]] = checked(callback.state_access, callback.name)
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.calls: list[tuple[Call, Sequence[Change], str]] = []
        self.numbers: set[tuple[str, int]] = set()
        self.refused: list[ProtectedException] = []
        self.steps = 0
        self.error: Exception | None = None

    def note(self, call: Call, changes: Sequence[Change], part: str) -> None:
        """Note what a handler changed, if it is one of this callback."""
        if call.callback is self.callback:
            self.calls.append((call, changes, part))
            self.written |= {path for path in done_by(call) if path in self.declared}
            if part != AROUND:
                self.written.update(path for change in changes for path in change.part.owners)

    def watching(self, call: Call) -> AbstractContextManager[object]:
        """Note where a handler of this callback takes a number from a tensor."""
        if call.callback is not self.callback or call.phase is None or not call.phase.training:
            return nullcontext()
        progress = call.learner.progress
        return NumbersTaken(lambda: self.numbers.add((call.hook.hook, progress.steps)))


#: What an operation writes by itself, and so does whoever overrides it, also where a toy shows no change.
CHANGED_BY: dict[type[Hook], tuple[str, ...]] = {Backward: ("step.grads",), Update: ("params", "optimizer")}


def done_by(call: Call) -> tuple[str, ...]:
    """The paths of what a call changes in place of an operation that it overrides."""
    return () if call.wrapper else CHANGED_BY.get(call.hook, ())


class RecordingView:
    """A callback's view of the learner, or of its part at `path`, that notes each access."""

    __slots__ = ("_path", "_record", "_view")

    def __init__(self, view: Any, record: Record, path: str = "") -> None:
        object.__setattr__(self, "_view", view)
        object.__setattr__(self, "_record", record)
        object.__setattr__(self, "_path", path)

    def _of(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _seen(self, name: str, value: Any) -> Any:
        if isinstance(value, View):
            return RecordingView(value, self._record, self._of(name))
        self._record.read.add(self._of(name))
        return value

    def _try(self, use: Callable[..., Any], *args: Any) -> Any:
        """Use the view, and note what it refuses: a handler may catch that."""
        try:
            return use(*args)
        except ProtectedException as error:
            self._record.refused.append(error)
            raise

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            return getattr(self._view, name)
        return self._seen(name, self._try(getattr, self._view, name))

    def __getitem__(self, name: str) -> Any:
        return self._seen(name, self._try(getitem, self._view, name))

    def __setattr__(self, name: str, value: Any) -> None:
        self._try(setattr, self._view, name, value)
        self._record.written.add(self._of(name))

    def __setitem__(self, name: str, value: Any) -> None:
        self._try(setitem, self._view, name, value)
        self._record.written.add(self._of(name))

    def __delattr__(self, name: str) -> None:
        self._try(delattr, self._view, name)
        self._record.written.add(self._of(name))

    def __delitem__(self, name: str) -> None:
        self._try(delitem, self._view, name)
        self._record.written.add(self._of(name))

    def __contains__(self, name: str) -> bool:
        self._record.read.add(self._of(name))
        return bool(self._try(contains, self._view, name))

    def __iter__(self) -> Iterator[str]:
        self._record.read.add(self._path)
        names: Iterator[str] = self._try(iter, self._view)
        return names

    def __repr__(self) -> str:
        return repr(self._view)


class RecordedInit(CallbackRunner):
    """A runner for a learner that is being built, so that `on_init` is recorded as well; see `recorded`."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def compile(self, calls: Sequence[Call]) -> Run:
        return LinearRunner().compile([recorded_call(call, self._record.note, self._record) for call in calls])


@contextmanager
def recorded(learner: Learner, note: Note, record: Record | None = None) -> Iterator[None]:
    """Compare the learner's state before and after every handler, while handlers run one after the other.

    Args:
        note: Called after each handler, and after each part of a wrapper, with what it changed.
        record: Where to note the accesses of one of its callbacks. Default: nowhere.
    """
    dispatcher = RecordedCalls(learner, note, record)

    def handle(phase: Phase | None) -> Handle:
        nonlocal dispatcher
        if dispatcher.callbacks is not learner.callbacks:
            dispatcher = RecordedCalls(learner, note, record)
        learner.current = dispatcher.handle(phase)
        return learner.current

    runner, vars(learner)["runner"] = learner.runner, LinearRunner()
    vars(learner)["handle"] = handle
    handle(None)
    try:
        yield
    finally:
        del vars(learner)["handle"]
        vars(learner)["runner"] = runner
        learner.current = learner._dispatcher.handle(None)


class RecordedCalls(Dispatcher):
    """Makes the calls of a learner; see `recorded`."""

    def __init__(self, learner: Learner, note: Note, record: Record | None) -> None:
        super().__init__(learner, learner.callbacks)
        self.callbacks, self._note, self._record = learner.callbacks, note, record

    def calls(self, hook: type[Hook], phase: Phase | None) -> list[Call]:
        return [recorded_call(call, self._note, self._record) for call in super().calls(hook, phase)]


def recorded_call(call: Call, note: Note, record: Record | None) -> Call:
    """The same call, its changes noted, and its accesses if the record is one of its callback."""
    function: Any = call.function
    if record is not None and call.callback is record.callback:
        call.view = RecordingView(call.view, record)
        call.use(call.phase)

    def compared(name: str, part: Callable[..., Any], *args: Any) -> Any:
        if call.hook in (Epoch, Step) and not call.wrapper:  # every callback's handlers run inside
            note(call, [], name)
            return part(*args)
        before = Moment(call.learner)
        try:
            with record.watching(call) if record is not None else nullcontext():
                result = part(*args)
        except (FitException, StopIteration):
            note(call, before.changes(Moment(call.learner)), name)
            raise
        note(call, before.changes(Moment(call.learner)), name)
        return result

    def plain(*args: Any) -> Any:
        return compared(ALL, function, *args)

    def around(*args: Any) -> Generator[Any, Any, Any]:
        before = Moment(call.learner)
        inner = function(*args)
        try:
            yielded = compared(BEFORE, next, inner)
            while True:
                try:
                    result = yield yielded
                except BaseException as error:
                    yielded = compared(AFTER, inner.throw, error)
                else:
                    yielded = compared(AFTER, inner.send, result)
        except StopIteration as stop:
            note(call, before.changes(Moment(call.learner)), AROUND)
            return stop.value

    call.function = around if call.wrapper else plain
    return call
