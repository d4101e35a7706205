"""From the order to calls. What runs at an event is worked out once, not at each event."""

from __future__ import annotations

import contextvars
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

import pluggy
import torch

from treadle.callback import Callback
from treadle.errors import ArgumentTypeError, ArgumentValueError, FitException
from treadle.events import Hook, Init
from treadle.phases import Phase
from treadle.plugins.discovery import distribution_of
from treadle.throttle import CallbackCondition, ConditionalCallback

if TYPE_CHECKING:
    from treadle.learner import Learner


Run = Callable[[], object]


class Call:
    """A handler, ready to be called: the function with the view and the phase that it asks for.

    Args:
        callback: Whose handler it is.
        hook: The event or operation.
        implementation: What pluggy registered for it.
        known: The values of the arguments that it may ask for by name.
        learner: The learner.
        phase: The phase, or None outside of all phases.

    Attributes:
        function: The bound method.
        names: The names of the arguments that it asks for.
        args: Their values.
        wrapper: Whether it is a wrapper.
    """

    __slots__ = ("args", "callback", "function", "hook", "learner", "names", "phase", "wrapper")

    def __init__(
        self,
        callback: Callback,
        hook: type[Hook],
        implementation: pluggy.HookImpl,
        known: Mapping[str, Any],
        learner: Learner,
        phase: Phase | None,
    ) -> None:
        self.callback, self.hook, self.learner, self.phase = callback, hook, learner, phase
        self.function: Callable[..., object] = implementation.function
        self.names = tuple(implementation.argnames)
        self.args = tuple(known.get(name) for name in self.names)
        self.wrapper = implementation.wrapper
        if hook is not Init and (conditions := conditions_of(callback)):
            self.function = conditional(self.function, conditions, hook, phase, wrapper=self.wrapper)

    def __call__(self) -> object:
        return self.function(*self.args)

    def independent(self, other: Call) -> bool:
        """Whether the two may run at the same time."""
        return self.learner.ordering.independent(self.callback, other.callback)

    def blame(self, error: BaseException) -> None:
        """Note on an exception that it was raised here; the same exception goes on to the caller."""
        if isinstance(error, FitException):
            if error.callback is not None:
                return
            error.callback = self.callback
        origin = distribution_of(self.callback)
        who = f"{self.callback.name} ({origin})" if origin else self.callback.name
        error.add_note(f"Raised by {who} in {self.hook.hook}{where(self.learner, self.phase)}.")


def conditions_of(callback: Callback) -> list[CallbackCondition]:
    """The conditions around a callback, the outermost first."""
    conditions = []
    while callback.wrapped is not None:
        if isinstance(callback, ConditionalCallback):
            conditions.append(callback.condition)
        callback = callback.wrapped
    return conditions


def conditional(
    function: Callable[..., Any],
    conditions: Sequence[CallbackCondition],
    hook: type[Hook],
    phase: Phase | None,
    *,
    wrapper: bool,
) -> Callable[..., Any]:
    """A handler that runs only where every condition says so; an inner one is not asked where an outer one refuses."""

    def run(*args: Any) -> Any:
        if all(condition.should_run(hook, phase) for condition in conditions):
            return function(*args)
        return None

    def run_around(*args: Any) -> Generator[Any, Any, Any]:
        if all(condition.should_run(hook, phase) for condition in conditions):
            return (yield from function(*args))
        return (yield)

    return run_around if wrapper else run


def where(learner: Learner, phase: Phase | None) -> str:
    """Where a learner stands, for a note on an exception."""
    if phase is None:
        return ""
    progress = learner.progress
    return f", {type(phase).__name__}, epoch {progress.epoch}, step {progress.step}"


class CallbackRunner(ABC):
    """Says how the handlers of an event are run. Subclass it for another way.

    Example:
        >>> from treadle import CustomCallback, StepEnd, TrainingPhase, toy_learner
        >>> class CountingRunner(CallbackRunner):
        ...     "Count the calls of handlers."
        ...     count = 0
        ...     def compile(self, calls):
        ...         run = LinearRunner().compile(calls)
        ...         def counted():
        ...             self.count += len(calls)
        ...             run()
        ...         return counted
        >>> runner, quiet = CountingRunner(), CustomCallback(lambda learner: None, StepEnd, TrainingPhase)
        >>> result = toy_learner(quiet, runner=runner).fit(1)
        >>> runner.count
        16
    """

    @abstractmethod
    def compile(self, calls: Sequence[Call]) -> Run:
        """Make one function that makes all the calls.

        Args:
            calls: The handlers of one event in one phase, in their order; at least one. A
                `Call` is called without arguments; of an exception it raises, tell it: `call.blame(error)`.
        """


class LinearRunner(CallbackRunner):
    """Runs one handler after the other. The default.

    Example:
        >>> from treadle import CustomCallback, FitEnd, toy_learner
        >>> callbacks = [CustomCallback(lambda learner, i=i: print(i), FitEnd) for i in range(3)]
        >>> result = toy_learner(*callbacks, runner=LinearRunner()).fit(0)
        0
        1
        2
    """

    def compile(self, calls: Sequence[Call]) -> Run:
        flat = [value for call in calls for value in (call.function, *call.args)]
        run: Run = unrolled(tuple(len(call.args) for call in calls))(blamer(calls), *flat)
        return run


@functools.cache
def unrolled(shape: tuple[int, ...]) -> Callable[..., Run]:
    """A factory of functions that make calls with so many arguments each, a line for each call.

    Written-out calls cost half of a loop's. Which of them raised is known by the line.
    """
    names = [[f"f{i}", *(f"a{i}_{k}" for k in range(count))] for i, count in enumerate(shape)]
    parameters = ", ".join(name for call in names for name in call)
    calls = "\n".join(f"            {call[0]}({', '.join(call[1:])})" for call in names)
    source = f"""def factory(blame, {parameters}):
    def run():
        try:
{calls}
        except BaseException as error:
            blame(error, error.__traceback__.tb_lineno - 4)
            raise
    return run
"""
    namespace: dict[str, Any] = {}
    exec(compile(source, "<treadle dispatch>", "exec"), namespace)
    factory: Callable[..., Run] = namespace["factory"]
    return factory


def blamer(calls: Sequence[Call]) -> Callable[[BaseException, int], None]:
    """A function that notes on an exception which of the calls raised it."""

    def blame(error: BaseException, index: int) -> None:
        calls[index].blame(error)

    return blame


class ThreadedRunner(CallbackRunner):
    """Runs handlers side by side in threads where their declarations show that it is valid.

    Handlers that wait for one another, or of which one writes what the other uses, run in their
    order; so the state afterwards is the one that `LinearRunner` gives, as long as none raises: beside
    one that does, those that do not wait for it have run already. Worth its cost only for handlers
    that wait for something, such as a disk.

    Args:
        max_workers: How many threads at most. Default: 4.

    Example:
        >>> from treadle import CustomCallback, FitEnd, toy_learner
        >>> done = set()
        >>> callbacks = [CustomCallback(lambda learner, i=i: done.add(i), FitEnd) for i in range(3)]
        >>> _ = toy_learner(*callbacks, runner=ThreadedRunner()).fit(0)
        >>> sorted(done)
        [0, 1, 2]
    """

    def __init__(self, max_workers: int = 4) -> None:
        if isinstance(max_workers, bool) or not isinstance(max_workers, int):
            raise ArgumentTypeError(
                f"max_workers is a whole number, got {max_workers!r}: ThreadedRunner(max_workers=4)"
            )
        if max_workers < 1:
            raise ArgumentValueError(f"max_workers is at least 1, got {max_workers}: ThreadedRunner(max_workers=4)")
        self.max_workers = max_workers
        self._pool = ThreadPoolExecutor(max_workers, thread_name_prefix="treadle")

    def __reduce__(self) -> tuple[type[ThreadedRunner], tuple[int]]:
        return type(self), (self.max_workers,)

    def compile(self, calls: Sequence[Call]) -> Run:
        if len(calls) == 1:
            return LinearRunner().compile(calls)
        groups = stages(calls)

        def run() -> None:
            for group in groups:
                self._run_together(group)

        return run

    def _run_together(self, group: Sequence[Call]) -> None:
        """Make calls side by side; afterwards raise what the first of them raised."""
        switches = switches_here()
        futures: list[Future[object]] = [
            self._pool.submit(contextvars.copy_context().run, under, switches, call) for call in group[1:]
        ]
        raised: list[tuple[Call, BaseException]] = []
        try:
            group[0]()
        except BaseException as error:
            raised.append((group[0], error))
        for call, future in zip(group[1:], futures, strict=True):
            if (exception := future.exception()) is not None:
                raised.append((call, exception))
        for call, exception in raised:
            call.blame(exception)
        if raised:
            # An error goes before a cancel: nothing may hide it.
            (_, first), *others = sorted(raised, key=lambda pair: isinstance(pair[1], FitException))
            for call, other in others:
                first.add_note(f"Beside it, {call.callback.name} raised {other!r} in {call.hook.hook}.")
            raise first


def switches_here() -> list[Callable[[], AbstractContextManager[Any]]]:
    """What sets torch's switches for gradients and for autocast in another thread as they are in this one."""
    gradients = functools.partial(torch.set_grad_enabled, torch.is_grad_enabled())
    autocasts = (
        functools.partial(torch.autocast, device, torch.get_autocast_dtype(device))
        for device in ("cpu", "cuda", "mps", "xpu")
        if torch.is_autocast_enabled(device)
    )
    return [gradients, *autocasts]


def under(switches: Sequence[Callable[[], AbstractContextManager[Any]]], call: Call) -> object:
    """Make a call in another thread."""
    with ExitStack() as stack:
        for switch in switches:
            stack.enter_context(switch())
        return call()


def stages(calls: Sequence[Call]) -> list[list[Call]]:
    """The calls in groups: those in one group are independent, and each runs after all it waits for."""
    level: list[int] = []
    for i, call in enumerate(calls):
        level.append(max((level[j] + 1 for j in range(i) if not call.independent(calls[j])), default=0))
    return [[call for call, own in zip(calls, level, strict=True) if own == n] for n in range(max(level) + 1)]
