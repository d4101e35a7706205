"""`CallbackRunner`: says how the handlers of an event are run; `LinearRunner`, one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from treadle.dispatch.call import Call
from treadle.dispatch.raised import Raised, exception_of, failed, leading, remove_first_frame

Run = Callable[[], object]


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
        """Make one function that makes all the calls. It is made once for equal phases.

        Args:
            calls: The handlers of one event in one phase, in their order; at least one. A `Call` is
                called without arguments. If it raises, `call.annotate(error)` adds the note that
                names its callback, and the same exception must be raised again; if it is a cancel (a
                `FitException`), only after the other calls were made.
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
        return one_after_the_other(calls)


def one_alone(call: Call) -> Run:
    """A function that makes one call."""

    def run_handlers() -> None:
        try:
            call.function(*call.args)
        except BaseException as exception:
            call.annotate(exception)
            raise

    return run_handlers


def one_after_the_other(calls: Sequence[Call], *, always: bool = False) -> Run:
    """A function that makes the calls in their order.

    Args:
        always: Whether every call is made, also after an error.
    """
    calls = tuple(calls)
    if len(calls) == 1:
        return one_alone(calls[0])

    def run_handlers() -> None:
        call = calls[0]
        try:
            for call in calls:
                call.function(*call.args)  # as call() does, without a frame of its own
            return
        except BaseException as exception:
            remove_first_frame(exception)
            call.annotate(exception)
            raised: list[Raised] = [(call.callback, exception)]
        for later in calls[calls.index(call) + 1 :]:
            if failed(raised) and not always:
                break
            if (another := exception_of(later)) is not None:
                later.annotate(another)
                raised.append((later.callback, another))
        try:
            raise leading(raised, call)
        finally:
            another = None
            raised.clear()  # the tracebacks hold this frame

    return run_handlers
